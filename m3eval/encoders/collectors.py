"""From packs back to lists: the results of texts that were sorted by length, put into the order of the texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse

from m3eval.encoders.execution import ragged_range
from m3eval.encoders.representations import Ragged, TermVectors


class Collector(Protocol):
    """Takes in what a head gave for each pack of a list."""

    def add(self, rows: np.ndarray, *arrays: np.ndarray) -> None:
        """The head's arrays for the texts at `rows` [B] of the list."""

    def result(self) -> Any:
        """All of them in the order of the texts, once every text was added."""


class Rows:
    """One vector per text: [n, h] float32."""

    def __init__(self, n: int) -> None:
        self.found = np.empty((n, 0), np.float32)

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Takes in a pack: see `Collector`."""
        if not self.found.shape[1]:  # the width shows with the first pack
            self.found = np.empty((len(self.found), vectors.shape[1]), np.float32)
        self.found[rows] = vectors

    def result(self) -> np.ndarray:
        """All of it: see `Collector`."""
        return self.found


class RowsOfVectors:
    """Several vectors per text: `Ragged`, [sum of counts, d]."""

    def __init__(self, counts: np.ndarray, dimension: int, dtype: type[np.floating]) -> None:
        offsets = np.concatenate([[0], np.cumsum(counts)])
        self.found = Ragged(np.empty((offsets[-1], dimension), dtype), offsets)

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Takes in a pack: see `Collector`."""
        start = 0
        for row in rows:
            here = self.found[row]
            here[:] = vectors[start : start + len(here)]
            start += len(here)

    def result(self) -> Ragged:
        """All of it: see `Collector`."""
        return self.found


class Terms(NamedTuple):
    """Token ids and weights of the B texts of a pack, one text after the other."""

    counts: np.ndarray  # [B] int64, terms of each text
    tokens: np.ndarray  # [sum of counts] int32, ascending within a text
    weights: np.ndarray  # [sum of counts] float32


class RowsOfTerms:
    """Weighted token ids per text: [n, vocabulary] float32, compressed rows."""

    def __init__(self, n: int, vocabulary: int, terms: Callable[..., Terms]) -> None:
        self.shape, self.terms = (n, vocabulary), terms
        self.parts: list[tuple[np.ndarray, Terms]] = []

    def add(self, rows: np.ndarray, *arrays: np.ndarray) -> None:
        """Takes in a pack: see `Collector`."""
        self.parts.append((rows, self.terms(len(rows), *arrays)))

    def result(self) -> scipy.sparse.csr_array:
        """All of it: see `Collector`."""
        counts = np.zeros(self.shape[0], np.int64)
        for rows, terms in self.parts:
            counts[rows] = terms.counts
        ends = np.concatenate([[0], np.cumsum(counts)])
        tokens, weights = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.float32)
        for rows, terms in self.parts:
            there = ragged_range(ends[rows], terms.counts)
            tokens[there], weights[there] = terms.tokens, terms.weights
        return scipy.sparse.csr_array((weights, tokens, ends.astype(np.int32)), shape=self.shape)


class RowsOfTermVectors:
    """Terms with a vector each: `TermVectors`."""

    def __init__(
        self, n: int, dtype: type[np.floating], stay: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """Of n texts; `stay` tells from the weights of terms ([n terms] -> bool) which of them do."""
        self.n, self.dtype, self.stay = n, dtype, stay
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(
        self,
        rows: np.ndarray,
        counts: np.ndarray,
        terms: np.ndarray,
        weights: np.ndarray,
        vectors: np.ndarray,
    ) -> None:
        """Takes in a pack: see `Collector`."""
        stay = self.stay(weights)
        counts = np.bincount(np.repeat(np.arange(len(rows)), counts)[stay], minlength=len(rows))
        self.parts.append((rows, counts, terms[stay], vectors[stay].astype(self.dtype)))

    def result(self) -> TermVectors:
        """All of it: see `Collector`."""
        offsets = np.zeros(self.n + 1, np.int64)
        for rows, counts, _, _ in self.parts:
            offsets[rows + 1] = counts
        np.cumsum(offsets, out=offsets)
        width = self.parts[0][3].shape[1] if self.parts else 0
        found = TermVectors(
            np.empty(offsets[-1], np.int32), np.empty((offsets[-1], width), self.dtype), offsets
        )
        for rows, counts, terms, vectors in self.parts:
            there = ragged_range(offsets[rows], counts)
            found.terms[there], found.vectors[there] = terms, vectors
        return found


class InPacks:
    """Whatever was computed for each pack: (rows, result) in the order of the packs."""

    def __init__(self) -> None:
        self.found: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, result: np.ndarray) -> None:
        """Takes in a pack: see `Collector`."""
        self.found.append((rows, result))

    def result(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """All of it: see `Collector`."""
        return self.found
