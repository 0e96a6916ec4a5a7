"""What a device does while it encodes: how long it waits, for what, and what takes longest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench import material
from bench.gpu.scene import ALL, DENSE, Row, Scene
from m3eval.encoders.encoder import Request, Wanted

LONGEST = 12  # kernels that are named
# Calls in which the host waits for the device. An allocation of pinned or device memory does too.
WAITS = ("Synchronize", "cudaMemcpy", "cudaMalloc", "cudaHostAlloc", "cudaFree")
DO_NOT_WAIT = ("cudaMemcpyAsync", "cudaMallocAsync", "cudaFreeAsync")


def packs(scene: Scene) -> Iterator[Row]:
    """The transformer on one pack of 512-token texts, then an encoder on four packs of texts."""
    encoder, length = scene.encoder(), scene.length(512)
    at_once = scene.budget // length
    pack, backbone = scene.pack(np.full(at_once, length)), encoder.backbone
    yield "one pack, the transformer alone", profiled(scene, lambda: backbone.forward(pack))
    texts = material.long_texts(4 * at_once, length)
    for wanted in (DENSE, ALL):
        request = Request(texts, "document", length)

        def encode(request: Request = request, wanted: Any = wanted) -> object:
            return encoder.encode(request, Wanted(wanted))

        yield f"four packs, {' + '.join(wanted)}", profiled(scene, encode)


def profiled(scene: Scene, work: Callable[[], object]) -> dict[str, Any]:
    """Shares and longest kernels of one call, after two that do not count."""
    with torch.inference_mode():
        for _ in range(2):
            work()
        scene.wait()
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * scene.cuda
        with profile(activities=kinds) as recorded:
            work()
            scene.wait()
    events = list(recorded.events() or [])
    return _of_a_gpu(events) if scene.cuda else _of_a_cpu(events)


def _of_a_gpu(events: Sequence[Any]) -> dict[str, Any]:
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    if not kernels:
        raise RuntimeError("torch's profiler recorded nothing of the GPU")
    spans = sorted((event.time_range.start, event.time_range.end) for event in kernels)
    busy, reached, longest_gap = 0.0, spans[0][0], 0.0
    for start, end in spans:  # in microseconds; streams overlap
        longest_gap = max(longest_gap, start - reached)
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    whole = reached - spans[0][0]
    waits: dict[str, int] = defaultdict(int)
    for event in events:
        if any(word in event.name for word in WAITS) and event.name not in DO_NOT_WAIT:
            waits[event.name] += 1
    return {
        "milliseconds": round(whole / 1e3, 3),
        "idle_share": round(1 - busy / whole, 4),
        "longest_gap_microseconds": round(longest_gap, 1),
        "kernels": len(kernels),
        "host_waits": dict(waits),
        "longest": _longest((event.name, event.time_range.elapsed_us()) for event in kernels),
    }


def _of_a_cpu(events: Sequence[Any]) -> dict[str, Any]:
    return {"longest": _longest((event.name, event.self_cpu_time_total) for event in events)}


def _longest(named: Iterator[tuple[str, float]]) -> dict[str, float]:
    """Shares of the time of all, of the names that take most."""
    sums: dict[str, float] = defaultdict(float)
    for name, microseconds in named:
        sums[name[:80]] += microseconds
    whole = sum(sums.values())
    most = sorted(sums, key=lambda name: -sums[name])[:LONGEST]
    return {name: round(sums[name] / whole, 4) for name in most}
