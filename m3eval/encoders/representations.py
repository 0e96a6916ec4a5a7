"""The three representations of a list of texts, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse

Representation = Literal["dense", "sparse", "multi_vector"]
REPRESENTATIONS: tuple[Representation, ...] = ("dense", "sparse", "multi_vector")


class Ragged(NamedTuple):
    """Vectors of texts of different lengths: those of text i are ``vectors[offsets[i]:offsets[i + 1]]``."""

    vectors: np.ndarray  # [sum of tokens, d]
    offsets: np.ndarray  # [n + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.vectors[self.offsets[i] : self.offsets[i + 1]]


@dataclass
class Representations:
    """What one forward pass gave for n texts; None where a representation was not asked for."""

    dense: np.ndarray | None  # [n, d] float32
    sparse: scipy.sparse.csr_array | None  # [n, vocabulary] float32, int32 token ids, sorted within a row
    multi_vector: Ragged | None  # [sum of tokens, d] float16, as stores hold them, unless asked for otherwise
    tokens: int  # read by the model, special tokens included
    truncated: int  # texts that were longer than the limit


def segment_max(rows: np.ndarray, tokens: np.ndarray, weights: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """One row per text, one entry per distinct token id with the largest of its weights; weights <= 0 are dropped.

    Args:
        rows: [T] int, the text each token belongs to.
        tokens: [T] int, token ids.
        weights: [T] float32.
        shape: texts x vocabulary.
    """
    positive = weights > 0
    keys = rows[positive].astype(np.int64) * shape[1] + tokens[positive]
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], weights[positive][order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    maxima = np.maximum.reduceat(values, first) if len(first) else values
    row, token = np.divmod(keys[first], shape[1])
    indptr = np.zeros(shape[0] + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=shape[0]), out=indptr[1:])
    return scipy.sparse.csr_array((maxima.astype(np.float32), token.astype(np.int32), indptr), shape=shape)
