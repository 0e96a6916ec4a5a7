"""Heads: last hidden states -> dense, sparse and multi-vector representations, on the device. All arithmetic in fp32.

A head computes the tensors of one pack where the model is; its collector puts those of all packs together on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from m3eval.encoders.backbone import Hidden
from m3eval.encoders.collectors import Collector, Rows, RowsOfTerms, RowsOfVectors, Terms
from m3eval.encoders.execution import kept
from m3eval.errors import UserError

Pooling = Literal["cls", "mean", "last"]


class Head(Protocol):
    """One representation of a checkpoint."""

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Tensors of a pack, from the states of its tokens; the first `n_prefix` after CLS are the prefix's."""

    def collector(self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]) -> Collector:
        """What puts the tensors of all packs together.

        Args:
            lengths: [n] tokens of each text.
            n_prefix: how many of them the prefix takes.
            dtype: of multi-vectors.
        """


@dataclass(frozen=True)
class DenseHead:
    """One vector per text."""

    pooling: Pooling
    normalize: bool = True

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor]:
        """[B, h] float32: the first, the last or the mean of a text's token states, scaled to length 1 if asked."""
        if self.pooling == "mean":
            lengths = hidden.on_device(hidden.lengths)
            vectors = torch.segment_reduce(
                hidden.states.float(), "mean", lengths=lengths, axis=0, unsafe=True
            )
        else:
            vectors = hidden.states[hidden.on_device(self.token(hidden.lengths))].float()
        return (F.normalize(vectors, dim=-1) if self.normalize else vectors,)

    def token(self, lengths: np.ndarray) -> np.ndarray | None:
        """[B] int64: the one token of each text of a pack that is read; None where all are."""
        ends = np.cumsum(lengths)
        return {"cls": ends - lengths, "last": ends - 1, "mean": None}[self.pooling]

    def collector(self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]) -> Rows:
        """See `Head`."""
        return Rows(len(lengths))


@dataclass(frozen=True)
class SparseHead:
    """A weight for every token id of a text; equal ids keep the largest weight (M3 paper, section 3.2)."""

    weigh: Callable[[Hidden], torch.Tensor]  # -> [T] float32, zero or less: dropped
    dropped_ids: Collection[int]  # special tokens that never carry a weight
    vocabulary: int
    normalize: bool = False  # scale each text's weights to length 1

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of the pack, sorted, and which of them count. No matrix as wide as the vocabulary is built.

        Returns:
            [T'] int64: text, token id and weight in one number, in this order: the bits of a float32 above zero sort as it
            does; and [T'] bool: the last, thus the heaviest, of each text's token.
        """
        places = kept(hidden.lengths, 1 + n_prefix, 0)
        texts = np.repeat(np.arange(len(hidden.rows)), np.maximum(hidden.lengths - 1 - n_prefix, 0))
        where = hidden.on_device(places)
        ids = hidden.ids[where]
        dropped = torch.isin(ids, torch.tensor(sorted(self.dropped_ids), device=ids.device))
        weights = self.weigh(hidden)[where].float().masked_fill(dropped, 0).clamp_min(0)
        terms = hidden.on_device(texts * self.vocabulary).add(
            ids
        )  # below 2^31: see execution.TEXTS
        keys = (terms << 32 | weights.view(torch.int32)).sort().values
        terms = keys >> 32
        return keys, F.pad(terms[1:] != terms[:-1], (0, 1), value=True) if len(
            keys
        ) else terms.bool()

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> RowsOfTerms:
        """See `Head`."""
        return RowsOfTerms(len(lengths), self.vocabulary, self._terms)

    def _terms(self, texts: int, keys: np.ndarray, last: np.ndarray) -> Terms:
        """The terms of the texts of a pack from what the head gave; weights of zero are dropped."""
        keys = keys[last]
        weights = (keys & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
        keys, weights = keys[weights > 0], weights[weights > 0]
        text, token = np.divmod(keys >> 32, self.vocabulary)
        counts = np.bincount(text, minlength=texts)
        if self.normalize:
            weights = weights / np.repeat(
                np.sqrt(np.bincount(text, weights**2, texts)), counts
            ).astype(np.float32)
        return Terms(counts, token.astype(np.int32), weights)


@dataclass(frozen=True)
class MultiVectorHead:
    """A vector of length 1 for every token of a text that is kept."""

    linear: torch.nn.Module | None  # None: the states themselves
    drop_eos: bool  # CLS is always dropped; M3 keeps EOS
    dimension: int

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor]:
        """[sum of kept tokens, d] float32, texts in the order of the pack."""
        states = hidden.states[
            hidden.on_device(kept(hidden.lengths, 1 + n_prefix, int(self.drop_eos)))
        ].float()
        if self.linear is not None:
            states = self.linear.to(states.device)(states)
        return (F.normalize(states, dim=-1),)

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> RowsOfVectors:
        """See `Head`."""
        return RowsOfVectors(self.vectors(lengths, n_prefix), self.dimension, dtype)

    def vectors(self, lengths: np.ndarray, n_prefix: int) -> np.ndarray:
        """[n] int64: how many vectors texts of so many tokens have."""
        return np.maximum(lengths - 1 - n_prefix - self.drop_eos, 0)


def read_linear(path: Path, width: int, bias: bool, why: str) -> torch.nn.Linear:
    """A linear layer in fp32 from a file of its state. Weights only: no code of a checkpoint is ever run.

    Args:
        path: the file.
        width: of the states that it reads.
        bias: whether it has one.
        why: what to say after "is missing." where it is.

    Raises:
        UserError: the file is missing, damaged or for states of another width.
    """
    if not path.exists():
        raise UserError(f"{path} is missing. {why}")
    names = ("weight", "bias") if bias else ("weight",)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: state[name].float() for name in names}
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"{path} is not a linear layer's state ({', '.join(names)}): {error}"
        ) from error
    if state["weight"].shape[1] != width:
        raise UserError(
            f"{path} reads states of width {state['weight'].shape[1]}, the backbone's have {width}."
        )
    linear = torch.nn.Linear(*reversed(state["weight"].shape), bias=bias)
    linear.load_state_dict(state)
    return linear.requires_grad_(False)
