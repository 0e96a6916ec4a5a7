"""Packs: texts that go through the model together, and where the tokens of each lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from m3eval.encoders.representations import ragged_range

if TYPE_CHECKING:
    from m3eval.runtime import Runtime

TEXTS = 4096  # of a pack at most
FEW = 8  # packs that a call is cut into, if it has enough tokens, so that cores share it
SMALL = 256  # tokens below which a pack on a CPU is not worth cutting


class Pack(NamedTuple):
    """Texts that go through the model together: their tokens one after the other, not padded."""

    rows: np.ndarray  # [B] positions of the texts in their list, longest text first
    lengths: np.ndarray  # [B] int64
    ids: np.ndarray  # [T] int64
    owner: Any = None  # whatever the caller wants to have beside the results

    def halves(self) -> tuple[Pack, Pack]:
        """The pack as two, of half the texts each."""
        middle = len(self.rows) // 2
        tokens = int(self.lengths[:middle].sum())
        return (
            Pack(self.rows[:middle], self.lengths[:middle], self.ids[:tokens], self.owner),
            Pack(self.rows[middle:], self.lengths[middle:], self.ids[tokens:], self.owner),
        )


def packs(ids: Sequence[np.ndarray], runtime: Runtime, owner: Any = None) -> Iterator[Pack]:
    """Sorts texts by length and cuts them into packs of the token budget.

    A text above the budget is a pack of its own. On a CPU a small call is cut into a few packs,
    whatever the number of cores, so that results do not depend on it.

    Args:
        ids: n arrays of token ids.
        runtime: has the budget.
        owner: of every pack.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    order = np.argsort(-lengths, kind="stable")
    budget = runtime.token_budget
    if runtime.device == "cpu":
        budget = min(budget, max(SMALL, -(-int(lengths.sum()) // FEW)))
    ends, start = np.cumsum(lengths[order]), 0
    while start < len(order):
        limit = (ends[start - 1] if start else 0) + budget
        end = int(np.searchsorted(ends, limit, side="right"))
        end = min(max(start + 1, end), start + TEXTS)
        rows = order[start:end]
        tokens = np.concatenate([ids[row] for row in rows]).astype(np.int64)
        yield Pack(rows, lengths[rows], tokens, owner)
        start = end


def inner_tokens(lengths: np.ndarray, first: int, last: int) -> np.ndarray:
    """Positions within a pack of the tokens of each text but its `first` first and `last` last.

    Args:
        lengths: [B] tokens of each text.
        first: how many tokens to leave out at the beginning of each text.
        last: how many at its end.

    Returns:
        [sum of max(length - first - last, 0)] int64.
    """
    starts = np.cumsum(lengths) - lengths + first
    return ragged_range(starts, np.maximum(lengths - first - last, 0))


class Run(NamedTuple):
    """Neighbours of equal length in a pack: a batch that needs no padding."""

    tokens: slice  # in the pack, or in the group
    texts: int
    length: int  # of each text, in tokens


def equal_lengths(lengths: np.ndarray) -> Iterator[Run]:
    """The runs of texts of equal length, one after the other.

    Args:
        lengths: [B] tokens of each text.
    """
    start = 0
    for length, same in groupby(lengths.tolist()):
        texts = len(list(same))
        yield Run(slice(start, start + texts * length), texts, length)
        start += texts * length


def groups(lengths: np.ndarray, most: int) -> Iterator[tuple[slice, list[Run]]]:
    """Cuts a pack into groups of whole texts with at most `most` tokens, or one longer text.

    Args:
        lengths: [B] tokens of each text.
        most: tokens of a group.

    Yields:
        The group's tokens in the pack, and its runs; their `tokens` count from the group's first.
    """
    start = first = 0
    ends = np.cumsum(lengths)
    while first < len(lengths):
        last = max(first + 1, int(np.searchsorted(ends, start + most, side="right")))
        end = int(ends[last - 1])
        yield slice(start, end), list(equal_lengths(lengths[first:last]))
        start, first = end, last
