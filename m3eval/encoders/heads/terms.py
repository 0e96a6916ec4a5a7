"""A weight for every term of a vocabulary -> the terms that a text keeps.

SPLADE, SparseEmbed and latent terms share this.
"""

from __future__ import annotations

import numpy as np

from m3eval.encoders.heads.collectors import PackRows
from m3eval.lazy import torch


def strongest_terms(
    weights: torch.Tensor, k: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The terms that n texts keep.

    Args:
        weights: [n, vocabulary] float32, none below zero.
        k: how many terms a text keeps, whatever their weights; None: all above zero.

    Returns:
        counts [n] int64; terms [sum of counts] int32, ascending within a text; weights
        [sum of counts] float32.
    """
    if k is None:
        active = ~(weights <= 0)  # NaN too
        return active.sum(1), active.nonzero()[:, 1].int(), weights[active]
    terms = weights.topk(min(k, weights.shape[1]), dim=1).indices.sort(dim=1).values  # [n, k]
    counts = torch.full((len(terms),), terms.shape[1], device=terms.device)
    return counts, terms.flatten().int(), weights.gather(1, terms).flatten()


def select_terms(counts: np.ndarray, chosen: np.ndarray, *arrays: np.ndarray) -> PackRows:
    """Some of the terms of a pack's texts.

    Args:
        counts: [B] int64, terms of each text.
        chosen: [sum of counts] bool.
        arrays: each [sum of counts, ...].
    """
    texts = np.repeat(np.arange(len(counts)), counts)[chosen]
    remaining = np.bincount(texts, minlength=len(counts))
    return PackRows(remaining, tuple(array[chosen] for array in arrays))


def terms_above(
    threshold: float, counts: np.ndarray, terms: np.ndarray, weights: np.ndarray
) -> PackRows:
    """The terms that `strongest_terms` gave, with a weight above a threshold, or with NaN."""
    return select_terms(counts, ~(weights <= threshold), terms, weights)
