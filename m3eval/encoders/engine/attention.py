"""Self-attention over packed texts: each token sees its own text and no other.

An implementation is made for the lengths of one pack and called in every layer with its queries,
keys and values. Nothing is padded where that can be helped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F

from m3eval.console import say
from m3eval.encoders.engine.packs import equal_lengths
from m3eval.encoders.transfer import to_device

# [T, 3, heads, head width] queries, keys and values -> [T, heads, head width]
Attention = Callable[[torch.Tensor], torch.Tensor]


def attention(
    lengths: np.ndarray, qkv_shape: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> Attention:
    """The fastest implementation that works here, for texts of these lengths.

    Args:
        lengths: [B] tokens of each text.
        qkv_shape: heads and head width.
        device: where the model is.
        dtype: what it computes in.
    """
    return _fastest(device.type, dtype, *qkv_shape)(lengths, device)


def equal_runs(lengths: np.ndarray, device: torch.device) -> Attention:
    """Neighbours of equal length form a batch without padding or mask.

    A pack is sorted by length, so such runs are long. On a CPU this beats padding and every kind of
    mask (docs/log.md).
    """
    return _by_run(lengths, F.scaled_dot_product_attention)


def equal_runs_by_products(lengths: np.ndarray, device: torch.device) -> Attention:
    """The same by two matrix products.

    Where these have bf16 instructions they are twice as fast as PyTorch's kernel.
    """
    return _by_run(lengths, _products)


def _by_run(lengths: np.ndarray, compute: Callable[..., torch.Tensor]) -> Attention:
    runs = list(equal_lengths(lengths))

    def attend(qkv: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(qkv[:, 0])  # [T, heads, width]
        for run in runs:
            batch = qkv[run.tokens].unflatten(0, (run.texts, run.length))
            q, k, v = batch.permute(2, 0, 3, 1, 4)  # each [texts, heads, length, width]
            seen = compute(q, k, v).transpose(1, 2)  # [texts, length, heads, width]
            result[run.tokens].unflatten(0, (run.texts, run.length)).copy_(seen)
        return result

    return attend


def _products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention of [texts, heads, length, width], in tiles whose scores stay in the cache.

    A tile has at most `ROWS` queries of a head, and as many heads as `NUMBERS` scores allow. Keys
    and values lie one after the other, for each tile lays them out anew.
    """
    shape, length = q.shape, q.shape[2]
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))  # each [texts * heads, length, width]
    keys, values = k.contiguous().transpose(1, 2), v.contiguous()
    scale, unused = shape[-1] ** -0.5, q.new_empty(1)  # which a factor of 0 keeps out
    rows = min(ROWS, length)
    at_once = max(1, NUMBERS // (rows * length))
    seen = torch.empty_like(values)
    for first in range(0, len(q), at_once):
        heads = slice(first, first + at_once)
        for start in range(0, length, rows):
            part = slice(start, start + rows)
            scores = torch.baddbmm(unused, q[heads, part], keys[heads], beta=0, alpha=scale)
            seen[heads, part] = torch.bmm(scores.softmax(-1), values[heads])
    return seen.unflatten(0, shape[:2])


def variable_length(lengths: np.ndarray, device: torch.device) -> Attention:
    """PyTorch's kernel for packed texts (FlashAttention; CUDA, half precision)."""
    from torch.nn.attention.varlen import varlen_attn  # torch 2.10 and newer

    ends = to_device(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), device)
    longest = int(lengths.max())

    def attend(qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = qkv.unbind(1)
        # A pair comes back only where the softmax's sums are asked for too.
        return cast(torch.Tensor, varlen_attn(q, k, v, ends, ends, longest, longest))

    return attend


def padded(lengths: np.ndarray, device: torch.device) -> Attention:
    """Pads the attention only: for devices and precisions without a kernel for packed texts."""
    longest = int(lengths.max())
    real = to_device(np.arange(longest) < lengths[:, None], device)  # [B, longest]
    where = to_device(np.flatnonzero(np.arange(longest) < lengths[:, None]), device)  # [T]

    def attend(qkv: torch.Tensor) -> torch.Tensor:
        batch = qkv.new_zeros(real.numel(), *qkv.shape[1:])
        batch[where] = qkv
        q, k, v = batch.unflatten(0, real.shape).permute(
            2, 0, 3, 1, 4
        )  # [B, heads, longest, width]
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
        return seen.transpose(1, 2).flatten(0, 1)[where]  # [T, heads, width]

    return attend


def chosen(device: str, dtype: torch.dtype, heads: int, width: int) -> str:
    """The name of the implementation that `attention` takes."""
    return _fastest(device, dtype, heads, width).__name__


# The first that works is taken, by trial and not by version.
CANDIDATES = {
    "cuda": (variable_length, padded),
    "cpu": (equal_runs,),
    ("cpu", torch.bfloat16): (equal_runs_by_products,),
}
# Of a tile of `_products` (docs/log.md): 2 MB of scores in bf16, or 4 MB of the longest texts.
ROWS, NUMBERS = 256, 1_000_000


@lru_cache
def _fastest(
    device: str, dtype: torch.dtype, heads: int, width: int
) -> Callable[[np.ndarray, torch.device], Attention]:
    """The first candidate that runs on a small pack and agrees with `padded`, which always runs."""
    lengths, place = np.array([7, 5, 5, 1]), torch.device(device)
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(int(lengths.sum()), 3, heads, width, generator=generator).to(place, dtype)
    expected = padded(lengths, place)(qkv.float())
    atol = 1e-5 if dtype == torch.float32 else 5e-2
    for candidate in CANDIDATES.get((device, dtype)) or CANDIDATES.get(device, (padded,)):
        try:
            result = candidate(lengths, place)(qkv)
        except (ImportError, NotImplementedError, RuntimeError, ValueError):
            continue
        if torch.allclose(result.float(), expected, rtol=0, atol=atol):
            if device == "cuda":  # there it decides how fast all of it is
                say(f"  attention on {device} in {str(dtype)[6:]}: {candidate.__name__}")
            return candidate
    raise AssertionError(f"no attention over packed texts works on {device} in {dtype}")
