"""Exact search over postings, block by block: what sparse and BM25 over tokens share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from m3eval.lazy import scipy
from m3eval.retrievers.run import Run
from m3eval.retrievers.topk import TopK

QUERIES = 16  # scored in one go; bounds what is above the bars in a block
# First row, and what loads the columns of some tokens, given in ascending order: [p, tokens].
Block = tuple[int, Callable[[np.ndarray], "scipy.sparse.csr_array"]]


def search(
    qids: Sequence[str],
    queries: scipy.sparse.csr_array,
    blocks: Iterable[Block],
    ids_of: Callable[[np.ndarray], dict[int, str]],
    depth: int,
    threads: int,
    scale: float = 1.0,
) -> Run:
    """Scores every document that shares a token with a query.

    Others, and those whose score is 0, are not retrieved. Memory holds one block of documents for
    every thread, and the best `depth` (with ties) of each query.

    Args:
        qids: q ids.
        queries: [q, vocabulary].
        blocks: of documents.
        ids_of: row -> docid for an array of rows.
        depth: documents per query.
        threads: blocks worked on at once; the run does not depend on it.
        scale: what every score is divided by.
    """
    tokens, asked = columns(queries)
    top = TopK(len(qids), depth)

    def work(block: Block) -> None:
        start, load = block
        score_block(asked, start, by_token(load, tokens), top)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, blocks):
            pass  # an exception of a thread is raised here
    return top.run(qids, ids_of, scale)


def columns(queries: scipy.sparse.csr_array) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """The tokens that any query has, ascending, and the queries over these alone: [q, tokens]."""
    tokens, positions = np.unique(queries.indices, return_inverse=True)
    asked = (
        queries.data.astype(np.float32),
        positions.astype(np.int32),
        queries.indptr.astype(np.int32),
    )
    return tokens, scipy.sparse.csr_array(asked, (queries.shape[0], len(tokens)))


def by_token(
    load: Callable[[np.ndarray], scipy.sparse.csr_array], tokens: np.ndarray
) -> scipy.sparse.csr_array:
    """[tokens, p]: the postings of one block, token by token."""
    return load(tokens).T.tocsr()


def score_block(
    queries: scipy.sparse.csr_array, start: int, terms: scipy.sparse.csr_array, top: TopK
) -> None:
    """Scores one block of documents for all queries.

    Args:
        queries: [q, tokens].
        start: first row of the block.
        terms: [tokens, p].
        top: takes what may be among the best.
    """
    from m3eval.retrievers.postings_compiled import match  # numba is slow to import

    n, documents = queries.shape[0], terms.shape[1]
    sums = np.zeros(documents, np.float32)
    most = min(QUERIES, n) * documents + 1
    rows, scores = np.empty(most, np.int64), np.empty(most, np.float32)
    for first in range(0, n, QUERIES):
        bounds = queries.indptr[first : first + QUERIES + 1]
        cuts = np.zeros(len(bounds), np.int64)
        bars = top.bars[first : first + QUERIES].copy()
        match(
            bounds,
            queries.indices,
            queries.data,
            terms.indptr,
            terms.indices,
            terms.data,
            bars,
            start,
            sums,
            rows,
            scores,
            cuts,
        )
        top.add(first, cuts, rows, scores)
