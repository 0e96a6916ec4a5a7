# m3eval in a container. Two stages to build, without and with CUDA's libraries:
#   docker build --target cpu -t m3eval:cpu .
#   docker build --target cuda -t m3eval:cuda .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" m3eval:cpu demo

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY m3eval m3eval
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

# Whatever user runs it: caches lie where everybody may write. Mount /cache to keep the hub's files.
FROM python:3.11-slim-bookworm AS base
ENV HOME=/tmp \
    HF_HOME=/cache/huggingface \
    NUMBA_CACHE_DIR=/tmp/numba \
    PIP_NO_CACHE_DIR=1
RUN mkdir -m 1777 /cache /data
COPY constraints.txt /tmp/
COPY --from=wheel /dist /tmp/dist
WORKDIR /data
ENTRYPOINT ["m3eval"]
CMD ["--help"]

FROM base AS cpu
RUN pip install -c /tmp/constraints.txt torch \
    --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple
RUN pip install -c /tmp/constraints.txt "$(ls /tmp/dist/*.whl)[bm25s,splade]"
USER 65534:65534

# PyPI's torch brings CUDA's libraries; the host needs the driver and the NVIDIA container toolkit.
FROM base AS cuda
RUN pip install -c /tmp/constraints.txt "$(ls /tmp/dist/*.whl)[bm25s,splade]"
USER 65534:65534
