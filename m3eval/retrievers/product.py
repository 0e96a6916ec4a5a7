"""Exact search by sparse matrix products: what sparse and BM25 over tokens have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy.sparse

from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, ranked

QUERIES = 64  # multiplied at once; bounds the product


def search(
    qids: Sequence[str],
    queries: scipy.sparse.csr_array,
    blocks: Iterable[tuple[int, scipy.sparse.csr_array]],
    ids_of: Callable[[np.ndarray], dict[int, str]],
    depth: int,
    scale: float = 1.0,
) -> Run:
    """Scores every passage that shares a token with a query; others are not retrieved.

    Args:
        qids: q ids.
        queries: [q, vocabulary].
        blocks: first row and [p, vocabulary] of consecutive blocks of passages.
        ids_of: row -> docid for an array of rows.
        depth: documents per query.
        scale: what every score is divided by.

    Memory holds one block of passages, the product with 64 queries, and the best `depth` (with ties) per query.
    """
    rows = [np.empty(0, np.int64)] * len(qids)
    scores = [np.empty(0, np.float32)] * len(qids)
    for start, block in blocks:
        terms = block.T.tocsr()
        for first in range(0, len(qids), QUERIES):
            product = maths.lexical(queries[first : first + QUERIES], terms)
            for i, (low, high) in enumerate(zip(product.indptr[:-1], product.indptr[1:], strict=True), start=first):
                rows[i] = np.concatenate([rows[i], product.indices[low:high].astype(np.int64) + start])
                scores[i] = np.concatenate([scores[i], product.data[low:high]])
                if len(scores[i]) > depth:
                    keep = scores[i] >= np.partition(scores[i], -depth)[-depth]
                    rows[i], scores[i] = rows[i][keep], scores[i][keep]
    docids = ids_of(np.concatenate(rows))
    return {
        qid: ranked([docids[row] for row in rows[i].tolist()], scores[i] / np.float32(scale), depth)
        for i, qid in enumerate(qids)
    }
