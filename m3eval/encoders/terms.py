"""A weight for every term of a vocabulary -> the terms that a text keeps: what SPLADE, SparseEmbed and latent terms share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch

from m3eval.encoders.collectors import Terms


def strongest(
    weights: torch.Tensor, k: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The terms of n texts, by their numbers.

    Args:
        weights: [n, vocabulary] float32, none below zero.
        k: how many of them to keep, whatever their weights; None: all above zero.

    Returns:
        counts [n] int64, terms [sum of counts] int32, ascending within a text, weights [sum of counts] float32.
    """
    if k is None:
        there = weights > 0
        return there.sum(1), there.nonzero()[:, 1].int(), weights[there]
    terms = weights.topk(min(k, weights.shape[1]), dim=1).indices.sort(dim=1).values
    counts = torch.full((len(terms),), terms.shape[1], device=terms.device)
    return counts, terms.flatten().int(), weights.gather(1, terms).flatten()


def above(threshold: float, counts: np.ndarray, terms: np.ndarray, weights: np.ndarray) -> Terms:
    """The terms of a pack's texts, as `strongest` gave them, without those at a threshold or below."""
    stay = weights > threshold
    texts = np.repeat(np.arange(len(counts)), counts)[stay]
    return Terms(np.bincount(texts, minlength=len(counts)), terms[stay], weights[stay])


def together(
    lengths: np.ndarray, step: int
) -> Iterator[tuple[slice, list[tuple[slice, tuple[int, int]]]]]:
    """Cuts a pack into groups of whole texts with `step` tokens at most, or a single longer text.

    Args:
        lengths: [B] tokens of each text; equal ones side by side make few runs.
        step: tokens.

    Yields:
        a group's tokens in the pack, and its runs of texts of equal length: their tokens in the group, and how many texts
        of how many tokens they are.
    """
    start = first = 0
    ends = np.cumsum(lengths)
    while first < len(lengths):
        last = max(first + 1, int(np.searchsorted(ends, start + step, side="right")))
        runs, place = [], 0
        for length, same in groupby(lengths[first:last].tolist()):
            count = len(list(same))
            runs.append((slice(place, place + length * count), (count, length)))
            place += length * count
        yield slice(start, start + place), runs
        start, first = start + place, last
