"""The machine: device, precision, threads and sizes of work, decided once per run and stated."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from m3eval.buckets import LIMIT, default_cache
from m3eval.errors import UserError
from m3eval.kinds import Count, NotNegative, holds, whole
from m3eval.lazy import torch

# Precision -> the type that torch computes in.
PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
Engine = Literal["auto", "packed", "reference", "openvino"]
Workers = Annotated[int, whole(1, 4096)]
Device = Annotated[
    str,
    holds("auto, cpu, cuda or cuda:NUMBER", re.compile(r"auto|cpu|cuda(:\d{1,3})?").fullmatch),
]
Memory = Annotated[
    str,
    holds(
        "memory as Java writes it, for example 4g or 512m", re.compile(r"[1-9]\d*[mg]").fullmatch
    ),
]
SHARE = re.compile(r"(\d{1,6})/(\d{1,6})")
ShareWord = Annotated[
    str,
    holds(
        "a share, counted from 0, of so many: 0/8 to 7/8",
        lambda word: (it := SHARE.fullmatch(word)) is not None and int(it[1]) < int(it[2]),
    ),
]
ADDRESS = re.compile(r"[^\s:/]+:(\d{1,5})")
Address = Annotated[
    str,
    holds(
        "host:port, as in head:6379",
        lambda word: (it := ADDRESS.fullmatch(word)) is not None and 0 < int(it[1]) < 65536,
    ),
]
# How many kernels made for a shape oneDNN keeps. Its default, 1024, is .3 GiB where the lengths of
# texts hardly recur (docs/log.md). Who sets the variable decides.
PRIMITIVES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128"
# NVIDIA, NVIDIA's Jetson, AMD, and either under WSL.
GPU_NODES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd", "/dev/dxg")


class Share(NamedTuple):
    """One of several parts of a stage, each started by hand."""

    number: int  # from 0
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Runtime:
    """What a run computes on and with; see conf/runtime/auto.yaml for each setting."""

    device: str
    asked_precision: Precision  # of the model
    engine: Engine  # openvino, where the precision is int8
    threads: int
    processes: int  # that share stages 0 and 1, each with a device or a share of the threads
    token_budget: int  # tokens of a pack
    shard_size: int  # texts of a shard at most
    search_block: int  # rows of a store compared at once
    # Bytes on disk for the multi-vectors of a corpus that several languages rerank.
    vector_cache: int
    java_heap: str  # what Lucene may take, as Java writes it: 4g, 512m
    executor: Literal["local", "ray"] = "local"  # who encodes and searches shards
    address: str | None = None  # of a Ray cluster; None: one on this machine
    share: Share | None = None  # of the shards; None: all
    cache: Path = Path()  # where folders lie that stand for object stores
    cache_limit: int = 0  # bytes of shards in each of them

    @cached_property
    def precision(self) -> str:
        """The model's precision: fp32, fp16, bf16 or int8.

        `auto` is fp16 on CUDA, bf16 on a CPU with bf16 instructions, else fp32. torch is asked only
        for `auto` on a CPU. Scores are in fp32 always.
        """
        if self.asked_precision != "auto":
            return self.asked_precision
        if self.device.startswith("cuda"):
            return "fp16"
        return "bf16" if cpu_has_bf16() else "fp32"

    @property
    def dtype(self) -> torch.dtype:
        """The model's precision as torch knows it.

        Raises:
            UserError: it is int8, which only our own forward pass has.
        """
        if self.precision == "int8":
            raise UserError(
                "runtime.precision=int8 is for m3eval's own forward pass of BERT, RoBERTa and "
                "XLM-R, and another library computes this model: leave it out."
            )
        return getattr(torch, PRECISIONS[self.precision])

    @property
    def weights(self) -> torch.dtype:
        """What the weights of m3eval's own forward pass are read in."""
        return torch.float32 if self.precision == "int8" else self.dtype

    def set_up_torch(self) -> None:
        """Gives torch the run's threads and GPU. Whatever computes with torch calls this first.

        `settle` does not do so: it would import torch for runs that compute nothing. What is said
        of no device means the current one, which is the first GPU, not the run's, until it is set.
        """
        os.environ.setdefault(*PRIMITIVES)
        if ":" in self.device:
            torch.cuda.set_device(self.device)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else "CPU"
        several = f"{self.processes} processes, " if self.processes > 1 else ""
        if self.executor == "ray":
            several = "tasks of Ray, "
        return (
            f"{name}, {self.precision}, {several}{self.threads} threads, "
            f"{self.token_budget:,} tokens a pack"
        )


def settle(
    device: Device,
    precision: Precision,
    threads: Workers | Literal["auto"],
    token_budget: Count | Literal["auto"],
    shard_size: Count,
    search_block: Count,
    java_heap: Memory = "4g",
    engine: Engine = "auto",
    processes: Workers | Literal["auto"] = 1,
    vector_cache_gb: NotNegative = 50,
    executor: Literal["local", "ray"] = "local",
    address: Address | None = None,
    share: ShareWord | None = None,
    cache: str | None = None,
    cache_gb: NotNegative = LIMIT / 1e9,
) -> Runtime:
    """Decides every setting that says ``auto``, the precision aside: see `Runtime.precision`.

    Processes ``auto`` is one for each GPU where the device is not one of them, and one on a CPU.
    torch is asked where a GPU may be there, or is asked for.

    Raises:
        UserError: the device is not there, or does not compute in that precision; or the engine
            does not.
    """
    if device == "auto":
        device = "cuda" if _may_have_gpu() and torch.cuda.is_available() else "cpu"
    if engine == "openvino" or precision == "int8":
        _require_int8(engine, precision, device)
        engine, precision = "openvino", "int8"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"runtime.device={device}, but torch {torch.__version__} sees no CUDA device."
        )
    if ":" in device and (n := torch.cuda.device_count()) <= int(device.partition(":")[2]):
        raise UserError(
            f"runtime.device={device}, but there are {n} CUDA devices: the last is cuda:{n - 1}."
        )
    if processes == "auto":
        processes = torch.cuda.device_count() if device == "cuda" else 1
    if token_budget == "auto":
        # CPU: small packs stay in the cache and take less memory (docs/log.md); CUDA: large ones
        # hide launches.
        token_budget = 32768 if device.startswith("cuda") else 1024
    return Runtime(
        device=device,
        asked_precision=precision,
        engine=engine,
        threads=_cores() if threads == "auto" else threads,
        processes=processes,
        token_budget=token_budget,
        shard_size=shard_size,
        search_block=search_block,
        vector_cache=int(vector_cache_gb * 1e9),
        java_heap=java_heap,
        executor=executor,
        address=address,
        share=Share(*map(int, share.split("/"))) if share else None,
        cache=default_cache() if cache is None else Path(cache).expanduser(),
        cache_limit=int(cache_gb * 1e9),
    )


def _require_int8(engine: Engine, precision: Precision, device: str) -> None:
    """Raises UserError where int8 cannot be had, or OpenVINO is to compute in anything else."""
    if precision not in ("auto", "int8"):
        raise UserError(
            f"runtime.engine=openvino computes in int8, not in {precision}, in which it is no "
            "faster than m3eval's own engine: leave one of the two out."
        )
    if engine not in ("auto", "openvino"):
        raise UserError(
            f"runtime.precision=int8 is computed by runtime.engine=openvino, not by {engine}: "
            "leave one of the two out."
        )
    if device != "cpu":
        raise UserError(
            f"runtime.precision=int8 is for CPUs, and runtime.device is {device}: set "
            "runtime.device=cpu, or leave the precision out."
        )
    if find_spec("openvino") is None:
        raise UserError("runtime.precision=int8 needs: pip install 'm3eval[openvino]'.")


def _may_have_gpu() -> bool:
    """Whether torch must be asked for a GPU: on Linux, no GPU is without one of these nodes."""
    return sys.platform != "linux" or any(Path(node).exists() for node in GPU_NODES)


def cpu_has_bf16() -> bool:
    """Whether matrix products in bf16 are native, hence faster than in fp32."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
