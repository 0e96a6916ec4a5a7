"""Exact search by sparse matrix products: what sparse and BM25 over tokens have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse

from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run
from m3eval.retrievers.topk import TopK

QUERIES = 128  # multiplied at once; bounds the product

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
    """Scores every passage that shares a token with a query; others are not retrieved.

    Args:
        qids: q ids.
        queries: [q, vocabulary].
        blocks: of passages.
        ids_of: row -> docid for an array of rows.
        depth: documents per query.
        threads: blocks worked on at once; the run does not depend on it.
        scale: what every score is divided by.

    Memory holds for every thread one block of passages and its product with 128 queries, and the best `depth` (with ties) per
    query.
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
    return tokens, scipy.sparse.csr_array((queries.data, positions, queries.indptr), (queries.shape[0], len(tokens)))


def postings(load: Callable[[np.ndarray], scipy.sparse.csr_array], tokens: np.ndarray) -> scipy.sparse.csr_array:
    """[tokens, p]: one block, term by term."""
    return load(tokens).T.tocsr()


def score(queries: scipy.sparse.csr_array, start: int, terms: scipy.sparse.csr_array, best: TopK) -> None:
    """Scores one block for all queries. scipy's products run without Python's lock, so threads work side by side.

    Args:
        queries: [q, tokens].
        start: first row of the block.
        terms: [tokens, p].
        best: where what may be among the best goes.
    """
    for first in range(0, queries.shape[0], QUERIES):
        product = maths.lexical(queries[first : first + QUERIES], terms)
        found, bars = np.diff(product.indptr), best.bars[first : first + QUERIES].copy()
        for i in np.flatnonzero(np.isinf(bars) & (found > best.depth)):  # the first block: without a bar all of it is kept
            bars[i] = np.partition(product.data[product.indptr[i] : product.indptr[i + 1]], -best.depth)[-best.depth]
        best.raise_bars(first, bars)
        kept = np.flatnonzero(product.data >= np.repeat(bars, found))
        cuts = np.searchsorted(kept, product.indptr)
        best.add(first, cuts, product.indices[kept] + np.int64(start), product.data[kept])
