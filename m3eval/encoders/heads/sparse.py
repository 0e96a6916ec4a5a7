"""Sparse: a weight for every token id that stands in a text (M3 paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.engine.packs import inner_tokens
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector, PackRows
from m3eval.lazy import torch

if TYPE_CHECKING:
    import scipy.sparse


@dataclass(frozen=True)
class TokenWeights:
    """Weighs each token of a text by its state; of equal ids the largest weight counts."""

    weigh: Callable[[Hidden], torch.Tensor]  # -> [T] float32; zero or less: the token is dropped
    dropped_ids: Collection[int]  # special tokens that never carry a weight
    vocabulary: int
    normalize: bool = False  # scale each text's weights to length 1

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """The largest weight of each token id of each text. No matrix [B, vocabulary] is built.

        Returns:
            See `largest_of_each`; a key is (position in the pack) * vocabulary + token id.
        """
        places = inner_tokens(hidden.lengths, 1 + n_prefix, 0)  # [T'] tokens that may count
        counts = np.maximum(hidden.lengths - 1 - n_prefix, 0)
        texts = np.repeat(np.arange(len(counts)), counts)  # [T']
        where = hidden.on_device(places)
        ids = hidden.ids[where]  # [T']
        dropped = torch.isin(ids, torch.tensor(sorted(self.dropped_ids), device=ids.device))
        weights = self.weigh(hidden)[where].float().masked_fill(dropped, 0).clamp_min(0)  # [T']
        return largest_of_each(hidden.on_device(texts * self.vocabulary) + ids, weights)

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[scipy.sparse.csr_array]:
        """See `head.Head`."""
        return collectors.weighted_terms(len(lengths), self.vocabulary, self._read)

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 6 * tokens  # an int32 and a float16

    def _read(
        self, rows: np.ndarray, keys: np.ndarray, first: np.ndarray, largest: np.ndarray
    ) -> PackRows:
        """Token ids and weights of a pack's texts, from what the head gave."""
        keys, weights = keys[first], largest[: int(first.sum())]
        kept = ~(weights <= 0)  # NaN too
        keys, weights = keys[kept], weights[kept]
        texts, tokens = np.divmod(keys, self.vocabulary)
        counts = np.bincount(texts, minlength=len(rows))
        if self.normalize:
            norms = np.sqrt(np.bincount(texts, weights**2, len(rows)))  # [B]
            weights = weights / np.repeat(norms, counts).astype(np.float32)
        return PackRows(counts, (tokens.astype(np.int32), weights))


def largest_of_each(
    keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest value of each distinct key, in shapes that a GPU need not be waited for.

    Args:
        keys: [n] int64.
        values: [n] float32, none below zero.

    Returns:
        The keys in order [n]; [n] bool: whether a key is the first of its kind; and [n] float32:
        the largest values of the distinct keys in order, then zeros.
    """
    keys, order = keys.sort()
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    number = first.cumsum(0) - 1  # [n] of the distinct key
    largest = torch.zeros_like(values).scatter_reduce(0, number, values[order], "amax")
    return keys, first, largest
