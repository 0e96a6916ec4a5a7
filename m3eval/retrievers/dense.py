"""Dense retrieval: exact inner products with every document, block by block, on a CPU or a GPU.

`engine=ivf` looks at some documents only: see `ivf.py`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from m3eval.errors import UserError
from m3eval.kinds import Count
from m3eval.lazy import torch
from m3eval.retrievers import ivf
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.retrievers.topk import TopK
from m3eval.stores.store import Store

QUERIES = 1024  # multiplied with a block in one go; bounds the product
CONVERTED = 1024  # documents that a CPU converts at once: they stay in its cache
QUERIES_OF_WINDOWS = 256  # the same where documents have windows


@retriever(
    "inner products of dense vectors",
    "stores",
    stored=("dense",),
    partitioned=lambda settings: settings.get("engine", "exact") == "exact",  # lists are of all
)
def search(
    sources: Sources,
    depth: Count,
    engine: Literal["exact", "ivf"] = "exact",
    lists: Count | None = None,
    probes: Count | None = None,
) -> Run:
    """Compares every query with every document, or with those that inverted lists give.

    Of exact search memory holds the queries, 1,024 documents in float32 (on an accelerator a
    block), the product of a block with 1,024 queries and the best `depth` (with ties) of each
    query, whatever the size of the corpus.

    Args:
        sources: the stores.
        depth: documents per query.
        engine: exact, or faiss' inverted lists.
        lists: of ivf: how many; None: by the size of the corpus.
        probes: of ivf: lists that a query looks into; None: by their number.

    Raises:
        UserError: settings of ivf are given to exact, or ivf cannot search this corpus.
    """
    if engine == "exact" and (lists or probes):
        raise UserError(
            "retriever.dense.lists and retriever.dense.probes are settings of ivf: set "
            "retriever.dense.engine=ivf, or leave them out."
        )
    corpus = sources.searched
    corpus.require("dense")
    sources.queries.require("dense")
    sources.runtime.set_up_torch()

    def exact(vectors: np.ndarray) -> TopK:
        queries = torch.from_numpy(vectors).to(sources.runtime.device)
        best = best_windowed if corpus.has_windows else best_whole
        return best(queries, corpus, depth, sources.runtime.search_block)

    if engine == "ivf":
        return ivf.search(sources, depth, lists, probes, exact)
    vectors = sources.queries.dense(np.arange(len(sources.queries)))  # [q, d]
    return exact(vectors).run(sources.queries.ids, corpus.ids_of)


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
