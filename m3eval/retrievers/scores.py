"""The maths of a score, in one place: inner product, lexical match, MaxSim and weighted sum (M3 paper, sections 3.2 and 4).

Inputs may be 16-bit; every score is computed and accumulated in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse


def dense(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """[q, p] float32: inner products of [q, d] and [p, d]."""
    return queries.astype(np.float32) @ passages.astype(np.float32).T


def lexical(queries: scipy.sparse.csr_array, terms: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """[q, p] float32: sums of w_query x w_passage over shared tokens; pairs that share none are absent.

    Args:
        queries: [q, vocabulary].
        terms: [vocabulary, p], the passages' matrix transposed.
    """
    return (queries.astype(np.float32) @ terms.astype(np.float32)).tocsr()


def lexical_pairs(queries: scipy.sparse.csr_array, passages: scipy.sparse.csr_array) -> np.ndarray:
    """[n] float32: the lexical score of row i of one matrix with row i of the other."""
    shared = queries.astype(np.float32).multiply(passages.astype(np.float32)).tocsr()
    return np.asarray(shared.sum(axis=1, dtype=np.float32)).ravel()


def maxsim(queries: Sequence[np.ndarray], passage: np.ndarray) -> np.ndarray:
    """[q] float32: for each query the mean over its tokens of the largest inner product with a token of the passage.

    Args:
        queries: q arrays [tokens, d].
        passage: [tokens, d]. No padding takes part, so a negative maximum stays negative.

    A query or a passage without a single vector scores 0.
    """
    lengths = np.array([len(query) for query in queries])
    best = np.zeros(int(lengths.sum()), np.float32)
    if len(passage) and len(best):
        best = dense(np.concatenate(queries), passage).max(axis=1)
    sums = np.array([part.sum(dtype=np.float32) for part in np.split(best, np.cumsum(lengths)[:-1])], np.float32)
    return sums / np.maximum(lengths, 1).astype(np.float32)


def weighted_sum(components: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """[n] float32: raw scores times their weights, summed; nothing is normalised (protocol of the M3 paper)."""
    terms = [np.float32(weight) * components[name].astype(np.float32) for name, weight in weights.items()]
    return np.sum(terms, axis=0, dtype=np.float32)
