"""Describes the machine on which a figure was measured."""

from __future__ import annotations

import copy
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from m3eval.encoders.engine.linear import for_cpu
from m3eval.provenance import engines, versions
from m3eval.runtime import settle

SIDE = 2048  # rows and columns of the matrices that are multiplied
SECONDS = 0.5  # for how long each kind of product is tried


def machine() -> dict[str, Any]:
    """The processor, memory and versions of libraries, and the rate of matrix products in GFLOP/s.

    Rates are given for fp32 and bf16, on one thread and on all.
    """
    runtime = settle("cpu", "fp32", "auto", "auto", 20_000, 50_000)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rates = {
        f"{name}, {threads} thread{'s' if threads > 1 else ''}": _rate(dtype, threads)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        for threads in sorted({1, runtime.threads})
    }
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": runtime.threads,  # this process may use
        "memory_gib": round(memory / 2**30, 1),
        "matrix_gflop_per_s": rates,
        "versions": versions(runtime) | engines(),
    }


def processor() -> str:
    """The name of the model as Linux has it, or what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


@torch.inference_mode()
def _rate(dtype: torch.dtype, threads: int) -> float:
    """GFLOP/s of the fastest product, by PyTorch's own kernel or by oneDNN's."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    inputs = torch.randn(SIDE, SIDE).to(dtype)
    linear = torch.nn.Linear(SIDE, SIDE, bias=False, dtype=dtype)
    fastest = float("inf")
    for layer in (linear, for_cpu(copy.deepcopy(linear))):
        layer(inputs)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            started = time.perf_counter()
            layer(inputs)
            fastest = min(fastest, time.perf_counter() - started)
    torch.set_num_threads(before)
    return round(2 * SIDE**3 / fastest / 1e9, 1)
