"""What the card reaches by itself: the measure of everything else."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench.gpu.scene import Row, Scene


def rates(scene: Scene) -> Iterator[Row]:
    """TFLOP/s of square products, GB/s of memory, and of copies to and from the host."""
    side, numbers = (256, 1_000_000) if scene.tiny else (8192, 512_000_000)
    products = {}
    for name, dtype in (
        ("fp32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ):
        left, right = (torch.randn(side, side, device=scene.device).to(dtype) for _ in range(2))
        fastest = scene.seconds(lambda left=left, right=right: left @ right, 20)["min"]
        products[name] = float(f"{2 * side**3 / fastest / 1e12:.4g}")
    yield "matrix products", products
    here, there = (torch.empty(numbers, dtype=torch.float16, device=scene.device) for _ in range(2))
    taken = scene.seconds(lambda: there.copy_(here))["min"]
    yield "memory", {"gb_per_second": round(2 * 2 * numbers / taken / 1e9, 1)}  # read, written
    host = torch.empty(numbers, dtype=torch.float16, pin_memory=scene.cuda)
    to_device = scene.seconds(lambda: here.copy_(host, non_blocking=True))["min"]
    to_host = scene.seconds(lambda: host.copy_(here, non_blocking=True))["min"]
    yield (
        "pinned copies",
        {
            "gb_per_second_to_device": round(2 * numbers / to_device / 1e9, 1),
            "gb_per_second_to_host": round(2 * numbers / to_host / 1e9, 1),
        },
    )
