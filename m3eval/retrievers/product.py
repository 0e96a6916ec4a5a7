"""Exact search over postings, block by block: what sparse and BM25 over tokens have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import scipy.sparse

from m3eval.retrievers.run import Run
from m3eval.retrievers.topk import TopK

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
    """Scores every passage that shares a token with a query; others, and those whose score is 0, are not retrieved.

    Args:
        qids: q ids.
        queries: [q, vocabulary].
        blocks: of passages.
        ids_of: row -> docid for an array of rows.
        depth: documents per query.
        threads: blocks worked on at once; the run does not depend on it.
        scale: what every score is divided by.

    Memory holds one block of passages for every thread, and the best `depth` (with ties) per query.
    """
    tokens, asked = columns(queries)
    best = TopK(len(qids), depth)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda block: score(asked, block[0], postings(block[1], tokens), best), blocks):
            pass  # an exception of a thread is raised here
    return best.run(qids, ids_of, scale)


def columns(queries: scipy.sparse.csr_array) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """The tokens that any query has, ascending, and the queries over these alone: [q, tokens]."""
    tokens, positions = np.unique(queries.indices, return_inverse=True)
    asked = (queries.data.astype(np.float32), positions.astype(np.int32), queries.indptr.astype(np.int32))
    return tokens, scipy.sparse.csr_array(asked, (queries.shape[0], len(tokens)))


def postings(load: Callable[[np.ndarray], scipy.sparse.csr_array], tokens: np.ndarray) -> scipy.sparse.csr_array:
    """[tokens, p]: one block, term by term."""
    return load(tokens).T.tocsr()


def score(queries: scipy.sparse.csr_array, start: int, terms: scipy.sparse.csr_array, best: TopK) -> None:
    """Scores one block for all queries.

    Args:
        queries: [q, tokens].
        start: first row of the block.
        terms: [tokens, p].
        best: where what may be among the best goes.
    """
    sums, rows, scores = (
        np.zeros(terms.shape[1], np.float32),
        np.empty(terms.shape[1], np.int64),
        np.empty(terms.shape[1], np.float32),
    )
    for query, (low, high) in enumerate(zip(queries.indptr[:-1], queries.indptr[1:], strict=True)):
        asked = queries.indices[low:high], queries.data[low:high]
        n = _match(*asked, terms.indptr, terms.indices, terms.data, best.bars[query], sums, rows, scores)
        best.add(query, np.array([0, n]), rows[:n] + start, scores[:n].copy())


@numba.njit(nogil=True, cache=True)
def _match(
    tokens: np.ndarray,
    weights: np.ndarray,
    indptr: np.ndarray,
    passages: np.ndarray,
    impacts: np.ndarray,
    bar: np.float32,
    sums: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
) -> int:
    """The lexical match (see `scores.lexical`) of one query with every passage of a block, without Python's lock.

    Args:
        tokens: [t], the query's.
        weights: [t] float32, its weights.
        indptr: of the block's postings, [tokens + 1].
        passages: [n], the passages of each token.
        impacts: [n] float32, their weights.
        bar: scores below are left out.
        sums: [p] float32 zeros, and zeros again afterwards.
        rows: [p], the passages found are written here.
        scores: [p] float32, and their scores here.

    Returns:
        How many were found.
    """
    for i in range(len(tokens)):
        for j in range(indptr[tokens[i]], indptr[tokens[i] + 1]):
            sums[passages[j]] += weights[i] * impacts[j]
    n = 0
    for i in range(len(tokens)):
        for j in range(indptr[tokens[i]], indptr[tokens[i] + 1]):
            passage = passages[j]
            if sums[passage] >= bar and sums[passage] > 0:
                rows[n], scores[n] = passage, sums[passage]
                n += 1
            sums[passage] = 0  # so that none is found twice
    return n
