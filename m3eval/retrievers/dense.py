"""Dense retrieval: exact inner products with blocks of the memory-mapped store, on the CPU or a GPU."""

from __future__ import annotations

import numpy as np
import torch

from m3eval.retrievers import windows
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.retrievers.topk import TopK
from m3eval.stores.store import Store

QUERIES = 1024  # multiplied at once; bounds the product


@retriever("inner products of dense vectors", "stores", stored=("dense",))
def search(sources: Sources, depth: int) -> Run:
    """Compares every query with every document.

    Memory holds the queries, one block of documents in float32, its product with 1,024 queries and the best `depth` (with ties)
    per query, whatever the size of the corpus.
    """
    sources.corpus.require("dense")
    sources.queries.require("dense")
    sources.runtime.set_torch_threads()
    queries = torch.from_numpy(sources.queries.dense(np.arange(len(sources.queries)))).to(
        sources.runtime.device
    )
    search_blocks = windows.best if sources.corpus.has_windows else best
    found = search_blocks(queries, sources.corpus, depth, sources.runtime.search_block)
    return found.run(sources.queries.ids, sources.corpus.ids_of)


def best(queries: torch.Tensor, corpus: Store, depth: int, size: int) -> TopK:
    """Rows and scores of the best documents.

    Args:
        queries: [q, d] float32, on the device that computes.
        corpus: the documents' store.
        depth: documents per query.
        size: documents of a block.
    """
    found = TopK(len(queries), depth)
    # Filled anew for each block, because fresh memory is slow.
    documents = queries.new_empty(min(size, len(corpus)), queries.shape[1])
    product = queries.new_empty(min(QUERIES, len(queries)) * len(documents))
    for start, block in corpus.dense_blocks(size):
        score(
            queries,
            start,
            documents[: len(block)].copy_(torch.from_numpy(block).to(queries.device)),
            product,
            found,
        )
    return found


def score(
    queries: torch.Tensor, start: int, documents: torch.Tensor, product: torch.Tensor, found: TopK
) -> None:
    """Scores one block for all queries.

    Args:
        queries: [q, d] float32.
        start: first row of the block.
        documents: [p, d] float32.
        product: float32, overwritten; room for the scores of 1,024 queries, or of q if there are fewer.
        found: where what may be among the best goes.
    """
    n = len(documents)
    for first in range(0, len(queries), QUERIES):
        part = queries[first : first + QUERIES]
        scores = torch.mm(part, documents.T, out=product[: len(part) * n].view(len(part), n))
        found.add_block(first, start, scores)
