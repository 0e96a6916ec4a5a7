"""Every attention over packed texts: whether it is right, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import attention as torch_attention

from bench.gpu.scene import Row, Scene
from m3eval.encoders.engine import attention
from m3eval.encoders.engine.attention import Attention

Make = Callable[[np.ndarray, torch.device], Attention]
MAKERS: tuple[Make, ...] = (
    attention.variable_length,
    attention.padded,
    attention.equal_runs,
    attention.equal_runs_by_products,
)


def each(scene: Scene) -> Iterator[Row]:
    """Seconds of one layer's attention over a pack, and how far it is from fp32.

    Packs of equal lengths, and one of mixed lengths. On a GPU also with each implementation of
    FlashAttention that torch can activate, as FA3, below `variable_length`.
    """
    _, width, heads = scene.shape
    device, head = torch.device(scene.device), width // heads
    chosen = attention.chosen(device.type, scene.dtype, heads, head)
    yield "chosen", {"attention": chosen}
    for name, lengths in packs(scene).items():
        qkv = torch.randn(int(lengths.sum()), 3, heads, head, device=device).to(scene.dtype)
        with torch.inference_mode():
            exact = attention.padded(lengths, device)(qkv.float())
            for make in MAKERS:
                row = measured(scene, make, lengths, qkv, exact)
                yield f"{name}, {make.__name__}", row
            for flash in torch_attention.list_flash_attention_impls() if scene.cuda else ():
                yield f"{name}, variable_length by {flash}", by(flash, scene, lengths, qkv, exact)


def packs(scene: Scene) -> dict[str, np.ndarray]:
    """Lengths of the texts of a pack, longest first, by name."""
    made = {
        f"{length:,} tokens": np.full(max(1, scene.budget // length), length)
        for length in map(scene.length, (128, 512, 8192))
    }
    rng = np.random.default_rng(0)
    mixed = rng.lognormal(np.log(91), 0.75, scene.budget // 118).clip(8, 512).astype(np.int64)
    return made | {"mixed lengths": np.sort(mixed)[::-1].copy()}


def measured(
    scene: Scene, make: Make, lengths: np.ndarray, qkv: torch.Tensor, exact: torch.Tensor
) -> dict[str, Any]:
    """Seconds and distance of one; why it does not run where it does not."""
    try:
        attend = make(lengths, qkv.device)
        difference = float((attend(qkv).float() - exact).abs().max())
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        return why_not(error)
    return {"seconds": scene.seconds(lambda: attend(qkv)), "largest_difference": difference}


def why_not(error: Exception) -> dict[str, str]:
    """The first line of an error, which may be long."""
    first = next(iter(str(error).splitlines()), "")
    return {"does_not_run": f"{type(error).__name__}: {first[:100]}"}


def by(
    flash: str, scene: Scene, lengths: np.ndarray, qkv: torch.Tensor, exact: torch.Tensor
) -> dict[str, Any]:
    """`variable_length` with an implementation of FlashAttention other than torch's own."""
    try:
        torch_attention.activate_flash_attention_impl(flash)
    except Exception as error:  # its package is not installed, or the card is not made for it
        return why_not(error)
    try:
        return measured(scene, attention.variable_length, lengths, qkv, exact)
    finally:
        torch_attention.restore_flash_attention_impl()
