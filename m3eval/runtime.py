"""The machine: device, precision, threads and sizes of work, decided once per run and stated."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m3eval.errors import UserError
from m3eval.lazy import torch

# Precision -> the type that torch computes in. int8: the weights of linear layers, and their inputs
# as they come; all else is in fp32.
PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "float32"}
ENGINES = ("auto", "packed", "reference")
# NVIDIA, NVIDIA's Jetson, AMD, and either under WSL.
GPU_NODES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Runtime:
    """What a run computes on and with; see conf/runtime/auto.yaml for each setting."""

    device: str
    asked_precision: str  # of the model: auto, fp32, fp16, bf16 or int8
    engine: str  # auto, packed or reference
    threads: int
    processes: int  # that share stage 0, each with its own device or its share of the threads
    token_budget: int  # tokens of a pack
    shard_size: int  # texts of a shard at most
    search_block: int  # rows of a store compared at once
    # Bytes on disk for the multi-vectors of a corpus that several languages rerank.
    vector_cache: int
    java_heap: str  # what Lucene may take, as Java writes it: 4g, 512m

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
        return "bf16" if _cpu_has_bf16() else "fp32"

    @property
    def dtype(self) -> torch.dtype:
        """The model's precision as torch knows it."""
        return getattr(torch, PRECISIONS[self.precision])

    def set_torch_threads(self) -> None:
        """Gives torch the run's threads. Whatever computes with torch calls this first.

        `settle` does not do so: it would import torch for runs that compute nothing.
        """
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else "CPU"
        several = f"{self.processes} processes, " if self.processes > 1 else ""
        return (
            f"{name}, {self.precision}, {several}{self.threads} threads, "
            f"{self.token_budget:,} tokens a pack"
        )


def settle(
    device: str,
    precision: str,
    threads: int | str,
    token_budget: int | str,
    shard_size: int,
    search_block: int,
    java_heap: str = "4g",
    engine: str = "auto",
    processes: int | str = 1,
    vector_cache_gb: float = 50,
) -> Runtime:
    """Decides every setting that says ``auto``, the precision aside: see `Runtime.precision`.

    Processes ``auto`` is one for each GPU where the device is not one of them, and one on a CPU.
    torch is asked where a GPU may be there, or is asked for.

    Raises:
        UserError: the device is not there, or a value is out of range.
    """
    if device == "auto":
        device = "cuda" if _may_have_gpu() and torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"runtime.device={device}, but torch {torch.__version__} sees no CUDA device."
        )
    if processes == "auto":
        processes = torch.cuda.device_count() if device == "cuda" else 1
    if precision not in ("auto", *PRECISIONS):
        raise UserError(f"runtime.precision={precision}: choose auto, {', '.join(PRECISIONS)}.")
    if engine not in ENGINES:
        raise UserError(f"runtime.engine={engine}: choose {', '.join(ENGINES)}.")
    if precision == "int8" and device != "cpu":
        raise UserError(
            f"runtime.precision=int8 is for CPUs, the device is {device}: choose fp16 or bf16."
        )
    threads = _cores() if threads == "auto" else int(threads)
    if token_budget == "auto":
        # CPU: small packs stay in the cache (docs/log.md); CUDA: large ones hide launches.
        token_budget = 32768 if device.startswith("cuda") else 2048
    sizes = {
        "threads": threads,
        "processes": int(processes),
        "token_budget": int(token_budget),
        "shard_size": shard_size,
        "search_block": search_block,
    }
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"runtime.{name}={value}: must be at least 1.")
    if not re.fullmatch(r"[1-9]\d*[mg]", str(java_heap)):
        raise UserError(
            f"runtime.java_heap={java_heap}: write it as Java does, for example 4g or 512m."
        )
    if vector_cache_gb < 0:
        raise UserError(f"runtime.vector_cache_gb={vector_cache_gb}: must be 0 (none) or more.")
    return Runtime(
        device=device,
        asked_precision=precision,
        engine=engine,
        vector_cache=int(vector_cache_gb * 1e9),
        java_heap=java_heap,
        **sizes,
    )


def _may_have_gpu() -> bool:
    """Whether torch must be asked for a GPU: on Linux, no GPU is without one of these nodes."""
    return sys.platform != "linux" or any(Path(node).exists() for node in GPU_NODES)


def _cpu_has_bf16() -> bool:
    """Whether matrix products in bf16 are native, hence faster than in fp32."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
