"""Dense retrieval: exact inner products with every document, block by block, on a CPU or a GPU."""

from __future__ import annotations

import numpy as np

from m3eval.kinds import Count
from m3eval.lazy import torch
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.retrievers.topk import TopK
from m3eval.stores.store import Store

QUERIES = 1024  # multiplied with a block in one go; bounds the product
CONVERTED = 2048  # documents that a CPU converts at once: they stay in its cache
QUERIES_OF_WINDOWS = 256  # the same where documents have windows


@retriever(
    "inner products of dense vectors", "stores", stored=("dense",), partitioned=lambda _: True
)
def search(sources: Sources, depth: Count) -> Run:
    """Compares every query with every document.

    Memory holds the queries, 2,048 documents in float32 (on an accelerator a block), the product of
    a block with 1,024 queries and the best `depth` (with ties) of each query, whatever the size of
    the corpus.
    """
    corpus = sources.searched
    corpus.require("dense")
    sources.queries.require("dense")
    sources.runtime.set_up_torch()
    vectors = sources.queries.dense(np.arange(len(sources.queries)))  # [q, d]
    queries = torch.from_numpy(vectors).to(sources.runtime.device)
    best = best_windowed if corpus.has_windows else best_whole
    top = best(queries, corpus, depth, sources.runtime.search_block)
    return top.run(sources.queries.ids, corpus.ids_of)


def best_whole(queries: torch.Tensor, corpus: Store, depth: int, size: int) -> TopK:
    """The best documents of each query, where a document has one vector.

    Args:
        queries: [q, d] float32, on the device that computes.
        corpus: the documents' store.
        depth: documents per query.
        size: documents of a block.
    """
    top = TopK(len(queries), depth)
    # Both are filled anew again and again, because fresh memory is slow.
    few = CONVERTED if queries.device.type == "cpu" else size
    documents = queries.new_empty(min(few, size, len(corpus)), queries.shape[1])
    product = queries.new_empty(min(QUERIES, len(queries)), min(size, len(corpus)))
    for start, block in corpus.dense_blocks(size):
        stored = torch.from_numpy(block).to(queries.device)
        for first in range(0, len(queries), QUERIES):
            part = queries[first : first + QUERIES]
            scores = product[: len(part), : len(block)]
            for low in range(0, len(block), len(documents)):
                rows = stored[low : low + len(documents)]
                vectors = documents[: len(rows)].copy_(rows)
                torch.mm(part, vectors.T, out=scores[:, low : low + len(rows)])
            top.add_block(first, np.arange(start, start + len(block)), scores)
    return top


def best_windowed(queries: torch.Tensor, corpus: Store, depth: int, size: int) -> TopK:
    """The same where a document has a vector for each of its windows: the nearest one counts.

    Blocks hold whole documents with about `size` windows.
    """
    top = TopK(len(queries), depth)
    for start, block in corpus.window_blocks(size):
        windows = torch.from_numpy(block.vectors).to(queries.device).float()
        counts = torch.from_numpy(np.diff(block.offsets)).to(queries.device)
        rows = np.arange(start, start + len(counts))
        for first in range(0, len(queries), QUERIES_OF_WINDOWS):
            part = queries[first : first + QUERIES_OF_WINDOWS]
            top.add_block(first, rows, maths.best_window(part, windows, counts))
    return top
