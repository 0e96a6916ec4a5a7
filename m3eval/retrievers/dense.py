"""Dense retrieval: exact inner product over blocks of the memory-mapped store, merged in a bounded heap."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np

from m3eval.retrievers import windows
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources, reads
from m3eval.stores.store import Store

TIES = 100  # fetched beyond the depth, so that equal scores at the cut are decided by docid and not by block


@reads("stores")
def search(sources: Sources, depth: int) -> Run:
    """Compares every query with every passage.

    Memory holds the queries, one block of passages in float32 and `depth` + 100 candidates per query, whatever the
    size of the corpus.
    """
    sources.corpus.require("dense")
    sources.queries.require("dense")
    queries = sources.queries.dense(np.arange(len(sources.queries)))
    heap = faiss.ResultHeap(len(queries), min(depth + TIES, len(sources.corpus)), keep_max=True)
    search_blocks = windows.nearest if sources.corpus.has_windows else nearest
    for scores, rows in search_blocks(queries, sources.corpus, depth + TIES, sources.runtime.search_block):
        heap.add_result(scores, rows)
    heap.finalize()
    docids = sources.corpus.ids_of(heap.I)
    return {
        qid: ranked([docids[row] for row in rows], scores, depth)
        for qid, rows, scores in zip(sources.queries.ids, heap.I.tolist(), heap.D, strict=True)
    }


def nearest(queries: np.ndarray, corpus: Store, k: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each block of `size` passages: scores [q, <= k] float32 and rows [q, <= k] int64 of the best."""
    for start, block in corpus.dense_blocks(size):
        scores, rows = faiss.knn(queries, block.astype(np.float32), min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        yield scores, rows + start
