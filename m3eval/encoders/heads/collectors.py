"""From packs back to lists: results of texts that were sorted by length, in the order of the texts.

A `Collector` takes in what a head gave for each pack. The functions below make the one that each
kind of representation needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from m3eval.encoders.representations import Ragged, TermVectors, ragged_range

if TYPE_CHECKING:
    import scipy.sparse

T = TypeVar("T")


class PackRows(NamedTuple):
    """Results of the B texts of a pack: some rows for each text, one text after the other."""

    counts: np.ndarray  # [B] int64, rows of each text
    arrays: tuple[np.ndarray, ...]  # each [sum of counts, ...]


class Collector(Generic[T]):
    """Takes in what a head gave for each pack of a list of n texts, and gives all of it by text."""

    def __init__(
        self,
        n: int,
        read: Callable[..., PackRows],
        assemble: Callable[..., T],
        empty: tuple[np.ndarray, ...],
        counts: np.ndarray | None = None,
    ) -> None:
        """Prepares for a list.

        Args:
            n: texts.
            read: positions [B] of a pack's texts in the list and the head's arrays -> their rows.
            assemble: offsets [n + 1] and the arrays of all texts -> the representation.
            empty: for each array of `PackRows` one without rows: it has the type of the result and,
                for lists without texts, its width.
            counts: [n] int64, rows of each text, where they are known beforehand. Rows are then put
                in their place as they come, so that memory holds them once.
        """
        self.n, self.read, self.assemble, self.empty = n, read, assemble, empty
        self.offsets = None if counts is None else _offsets(counts)
        self.arrays: tuple[np.ndarray, ...] | None = None
        self.parts: list[tuple[np.ndarray, PackRows]] = []

    def add(self, rows: np.ndarray, *arrays: np.ndarray) -> PackRows:
        """Takes in the head's arrays for the texts at `rows` [B] of the list; returns their rows.

        A number that is not finite stays in them, whatever else is left out.
        """
        part = self.read(rows, *arrays)
        if self.offsets is None:
            self.parts.append((rows, part))
        else:
            self._place(rows, part, self.offsets)
        return part

    def result(self) -> T:
        """The representation of all texts, in their order, once every text was added."""
        offsets = self.offsets
        if offsets is None:
            counts = np.zeros(self.n, np.int64)
            for rows, part in self.parts:
                counts[rows] = part.counts
            offsets = _offsets(counts)
            for rows, part in self.parts:
                self._place(rows, part, offsets)
        return self.assemble(offsets, *(self.empty if self.arrays is None else self.arrays))

    def _place(self, rows: np.ndarray, part: PackRows, offsets: np.ndarray) -> None:
        if self.arrays is None:  # widths show with the first pack
            self.arrays = tuple(
                np.empty((offsets[-1], *array.shape[1:]), empty.dtype)
                for array, empty in zip(part.arrays, self.empty, strict=True)
            )
        places = ragged_range(offsets[rows], part.counts)
        for whole, array in zip(self.arrays, part.arrays, strict=True):
            whole[places] = array


def one_vector(n: int) -> Collector[np.ndarray]:
    """One vector per text, of heads that give [B, h]: [n, h] float32."""
    ones = np.ones(n, np.int64)

    def read(rows: np.ndarray, vectors: np.ndarray) -> PackRows:
        return PackRows(ones[rows], (vectors,))

    empty = (np.empty((0, 0), np.float32),)
    return Collector(n, read, lambda offsets, vectors: vectors, empty, ones)


def several_vectors(
    counts: np.ndarray, dimension: int, dtype: type[np.floating]
) -> Collector[Ragged]:
    """Several vectors per text, of heads that give [sum of counts, d].

    Args:
        counts: [n] int64, vectors of each text.
        dimension: of a vector.
        dtype: of the result.
    """

    def read(rows: np.ndarray, vectors: np.ndarray) -> PackRows:
        return PackRows(counts[rows], (vectors,))

    def assemble(offsets: np.ndarray, vectors: np.ndarray) -> Ragged:
        return Ragged(vectors, offsets)

    return Collector(len(counts), read, assemble, (np.empty((0, dimension), dtype),), counts)


def weighted_terms(
    n: int, vocabulary: int, read: Callable[..., PackRows]
) -> Collector[scipy.sparse.csr_array]:
    """Token ids with weights: [n, vocabulary] float32 in compressed rows.

    Args:
        n: texts.
        vocabulary: token ids there are.
        read: positions of texts and the head's arrays -> token ids, ascending within a text, and
            their weights.
    """
    import scipy.sparse

    def assemble(
        offsets: np.ndarray, tokens: np.ndarray, weights: np.ndarray
    ) -> scipy.sparse.csr_array:
        ends = offsets.astype(np.int32)
        return scipy.sparse.csr_array((weights, tokens, ends), shape=(n, vocabulary))

    return Collector(n, read, assemble, (np.empty(0, np.int32), np.empty(0, np.float32)))


def terms_with_vectors(
    n: int, dtype: type[np.floating], read: Callable[..., PackRows]
) -> Collector[TermVectors]:
    """Token ids with a vector each.

    Args:
        n: texts.
        dtype: of the vectors.
        read: positions of texts and the head's arrays -> token ids, ascending within a text, and
            their vectors.
    """

    def assemble(offsets: np.ndarray, terms: np.ndarray, vectors: np.ndarray) -> TermVectors:
        return TermVectors(terms, vectors, offsets)

    return Collector(n, read, assemble, (np.empty(0, np.int32), np.empty((0, 0), dtype)))


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
