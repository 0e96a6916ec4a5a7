"""Exact search over postings, block by block: what sparse and BM25 over tokens have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import scipy.sparse

from m3eval.retrievers.run import Run
from m3eval.retrievers.topk import TopK

QUERIES = 16  # scored in one go; bounds what is found in a block
STRIP = 64  # documents looked at together, in a few instructions; nearly all strips hold nothing above the bar
ABOVE_0 = np.nextafter(np.float32(0), np.float32(1))
# First row, and what loads the columns of some tokens, given in ascending order: [p, tokens].
Block = tuple[int, Callable[[np.ndarray], scipy.sparse.csr_array]]


def search(
    qids: Sequence[str],
    queries: scipy.sparse.csr_array,
    blocks: Iterable[Block],
    ids_of: Callable[[np.ndarray], dict[int, str]],
    depth: int,
    threads: int,
    scale: float = 1.0,
) -> Run:
    """Scores every document that shares a token with a query; others, and those whose score is 0, are not retrieved.

    Args:
        qids: q ids.
        queries: [q, vocabulary].
        blocks: of documents.
        ids_of: row -> docid for an array of rows.
        depth: documents per query.
        threads: blocks worked on at once; the run does not depend on it.
        scale: what every score is divided by.

    Memory holds one block of documents for every thread, and the best `depth` (with ties) per query.
    """
    tokens, asked = columns(queries)
    best = TopK(len(qids), depth)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(
            lambda block: score(asked, block[0], postings(block[1], tokens), best), blocks
        ):
            pass  # an exception of a thread is raised here
    return best.run(qids, ids_of, scale)


def columns(queries: scipy.sparse.csr_array) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """The tokens that any query has, ascending, and the queries over these alone: [q, tokens]."""
    tokens, positions = np.unique(queries.indices, return_inverse=True)
    asked = (
        queries.data.astype(np.float32),
        positions.astype(np.int32),
        queries.indptr.astype(np.int32),
    )
    return tokens, scipy.sparse.csr_array(asked, (queries.shape[0], len(tokens)))


def postings(
    load: Callable[[np.ndarray], scipy.sparse.csr_array], tokens: np.ndarray
) -> scipy.sparse.csr_array:
    """[tokens, p]: one block, term by term."""
    return load(tokens).T.tocsr()


def score(
    queries: scipy.sparse.csr_array, start: int, terms: scipy.sparse.csr_array, best: TopK
) -> None:
    """Scores one block for all queries.

    Args:
        queries: [q, tokens].
        start: first row of the block.
        terms: [tokens, p].
        best: where what may be among the best goes.
    """
    n, documents = queries.shape[0], terms.shape[1]
    sums = np.zeros(documents, np.float32)
    most = min(QUERIES, n) * documents + 1
    rows, scores = np.empty(most, np.int64), np.empty(most, np.float32)
    for first in range(0, n, QUERIES):
        bounds = queries.indptr[first : first + QUERIES + 1]
        cuts = np.zeros(len(bounds), np.int64)
        bars = best.bars[first : first + QUERIES].copy()
        postings = terms.indptr, terms.indices, terms.data
        _match(
            bounds, queries.indices, queries.data, *postings, bars, start, sums, rows, scores, cuts
        )
        best.add(first, cuts, rows, scores)


@numba.njit(nogil=True, cache=True)
def _match(
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
    """The lexical match (see `scores.lexical`) of some queries with every document of a block, without Python's lock.

    Args:
        bounds: [m + 1], query i has tokens[bounds[i]:bounds[i + 1]].
        tokens: of all queries.
        weights: float32, the tokens'.
        indptr: of the block's postings, [tokens + 1].
        documents: [n], the documents of each token.
        impacts: [n] float32, their weights.
        bars: [m] float32, scores below are left out.
        first: row of the block's first document.
        sums: [p] float32 zeros, and zeros again afterwards.
        rows: int64, rows of what is found are written here, query by query.
        scores: float32, and their scores here.
        cuts: [m + 1], query i found rows[cuts[i]:cuts[i + 1]]; the first is 0.
    """
    n = 0
    for query in range(len(bars)):
        for i in range(bounds[query], bounds[query + 1]):
            token, weight = tokens[i], weights[i]
            for j in range(
                np.uint64(indptr[token]), np.uint64(indptr[token + 1])
            ):  # signed ones may count from the end: slower
                sums[documents[j]] += weight * impacts[j]
        bar = max(bars[query], ABOVE_0)
        for start in range(
            0, len(sums), STRIP
        ):  # reading all sums in strips is faster than going over the postings again
            strip = sums[start : start + STRIP]
            found = 0
            for i in range(len(strip)):
                found += np.int32(strip[i] >= bar)
            if found:
                for i in range(
                    len(strip)
                ):  # no branch: what is below the bar is written over by the next
                    rows[n], scores[n] = first + start + i, strip[i]
                    n += np.int64(strip[i] >= bar)
            for i in range(len(strip)):
                strip[i] = 0
        cuts[query + 1] = n
