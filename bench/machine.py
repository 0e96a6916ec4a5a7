"""What a figure was measured on."""

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

SIDE, SECONDS = 2048, 0.5  # of the square matrices multiplied, and how long


def machine() -> dict[str, Any]:
    """The processor, its memory, what torch's matrix products reach on it (GFLOP/s), and the libraries' versions."""
    runtime = settle("cpu", "fp32", "auto", "auto", 20_000, 50_000)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rates = {
        f"{name}, {threads} thread{'s' if threads > 1 else ''}": _rate(dtype, threads)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        for threads in sorted({1, runtime.threads})
    }
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": runtime.threads,  # this process may use
        "memory_gib": round(memory / 2**30, 1),
        "matrix_gflop_per_s": rates,
        "versions": versions(runtime) | engines(),
    }


def _processor() -> str:
    """The model's name as Linux has it, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


@torch.inference_mode()
def _rate(dtype: torch.dtype, threads: int) -> float:
    """GFLOP/s of the fastest of the products that fit into a second, by PyTorch's own product and by oneDNN's."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    inputs, linear = (
        torch.randn(SIDE, SIDE).to(dtype),
        torch.nn.Linear(SIDE, SIDE, bias=False, dtype=dtype),
    )
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
