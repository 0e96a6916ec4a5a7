"""The inner loop of search over postings, compiled by numba; importing it takes half a second."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from m3eval.console import say

STRIP = 64  # documents looked at together, in a few instructions; most strips have none above
ABOVE_0 = np.nextafter(np.float32(0), np.float32(1))


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """A function that is compiled at its first call, without Python's lock.

    What was compiled is kept for later processes: in the folder of m3eval, in the user's cache or
    in NUMBA_CACHE_DIR. Where no such folder can be written it is compiled in each process.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba says so when it finds no folder
        say(
            "note       numba can keep compiled code nowhere, so searching begins some seconds "
            "later: set NUMBA_CACHE_DIR to a folder that can be written."
        )
        return numba.njit(nogil=True)(function)


@compiled
def match(
    bounds: np.ndarray,
    tokens: np.ndarray,
    weights: np.ndarray,
    indptr: np.ndarray,
    documents: np.ndarray,
    impacts: np.ndarray,
    bars: np.ndarray,
    first: int,
    sums: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
    cuts: np.ndarray,
) -> None:
    """The lexical match (see `scores.lexical`) of m queries with every document of a block.

    It runs without Python's lock.

    Args:
        bounds: [m + 1], query i has tokens[bounds[i]:bounds[i + 1]].
        tokens: of all queries.
        weights: float32, the tokens'.
        indptr: [tokens + 1], of the block's postings.
        documents: [n], the documents of each token.
        impacts: [n] float32, the weights that the documents give it.
        bars: [m] float32, scores below are left out.
        first: row of the block's first document.
        sums: [p] float32, zeros before and after.
        rows: int64, is filled with the rows of documents, query by query.
        scores: float32, is filled with their scores.
        cuts: [m + 1], the first is 0; is filled so that query i has rows[cuts[i]:cuts[i + 1]].
    """
    n = 0
    for query in range(len(bars)):
        for i in range(bounds[query], bounds[query + 1]):
            token, weight = tokens[i], weights[i]
            # Unsigned, because signed numbers might count from the end, and that is slower.
            for j in range(np.uint64(indptr[token]), np.uint64(indptr[token + 1])):
                sums[documents[j]] += weight * impacts[j]
        bar = max(bars[query], ABOVE_0)
        # To read all sums in strips is faster than to go over the postings again.
        for start in range(0, len(sums), STRIP):
            strip = sums[start : start + STRIP]
            above = 0
            for i in range(len(strip)):
                above += np.int32(strip[i] >= bar)
            if above:
                # No branch: what is below the bar is overwritten by the next.
                for i in range(len(strip)):
                    rows[n], scores[n] = first + start + i, strip[i]
                    n += np.int64(strip[i] >= bar)
            for i in range(len(strip)):
                strip[i] = 0
        cuts[query + 1] = n
