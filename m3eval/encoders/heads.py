"""Heads: last hidden states -> dense, sparse and multi-vector representations. All arithmetic in fp32."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from m3eval.encoders.backbone import Hidden

Pooling = Literal["cls", "mean", "last"]


@dataclass(frozen=True)
class DenseHead:
    """One vector per text."""

    pooling: Pooling
    normalize: bool = True

    def __call__(self, hidden: Hidden) -> np.ndarray:
        """[B, h] float32: the first, the last or the mean of a text's token states, scaled to length 1 if asked."""
        if self.pooling == "cls":
            vectors = hidden.states[:, 0]
        elif self.pooling == "last":
            vectors = hidden.states[torch.arange(len(hidden.rows), device=hidden.states.device), hidden.lengths - 1]
        else:
            mask = _positions(hidden, 0, 0)[..., None]
            vectors = (hidden.states * mask).sum(1) / hidden.lengths[:, None]
        return (F.normalize(vectors, dim=-1) if self.normalize else vectors).cpu().numpy()


@dataclass(frozen=True)
class SparseHead:
    """A weight for every token id of a text; equal ids keep the largest weight (M3 paper, section 3.2)."""

    weigh: Callable[[Hidden], torch.Tensor]  # -> [B, L] float32, zero or less: dropped
    dropped_ids: Collection[int]  # special tokens that never carry a weight
    vocabulary: int
    normalize: bool = False  # scale each text's weights to length 1

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows (positions in the encoded list), token ids and weights of every token that counts."""
        keep = _positions(hidden, 1 + n_prefix, 0)
        keep &= ~torch.isin(hidden.ids, torch.tensor(sorted(self.dropped_ids), device=hidden.ids.device))
        weights = self.weigh(hidden)[keep].float().cpu().numpy()
        rows = np.broadcast_to(hidden.rows[:, None], keep.shape)[keep.cpu().numpy()]
        return rows, hidden.ids[keep].cpu().numpy(), weights


@dataclass(frozen=True)
class MultiVectorHead:
    """A vector of length 1 for every token of a text that is kept."""

    linear: torch.nn.Linear | None  # None: the states themselves
    drop_eos: bool  # CLS is always dropped; M3 keeps EOS
    dimension: int

    def lengths(self, token_lengths: np.ndarray, n_prefix: int) -> np.ndarray:
        """[n] int64: how many vectors texts of so many tokens have."""
        return np.maximum(token_lengths - 1 - n_prefix - self.drop_eos, 0)

    def __call__(self, hidden: Hidden, n_prefix: int) -> np.ndarray:
        """[sum of kept tokens, d] float32, texts in the order of the batch."""
        states = hidden.states[_positions(hidden, 1 + n_prefix, int(self.drop_eos))]
        if self.linear is not None:
            states = self.linear.to(states.device)(states)
        return F.normalize(states, dim=-1).cpu().numpy()


def _positions(hidden: Hidden, drop_first: int, drop_last: int) -> torch.Tensor:
    """[B, L] bool: the tokens of each text but its first and last few; padding is never among them."""
    position = torch.arange(hidden.ids.shape[1], device=hidden.ids.device)
    return (position >= drop_first) & (position < (hidden.lengths - drop_last)[:, None])
