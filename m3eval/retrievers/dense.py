"""Dense retrieval: exact inner products with blocks of the memory-mapped store, on the CPU or a GPU."""

from __future__ import annotations

import numpy as np
import torch

from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources, reads
from m3eval.retrievers.topk import TopK

QUERIES = 1024  # multiplied at once; bounds the product


@reads("stores")
def search(sources: Sources, depth: int) -> Run:
    """Compares every query with every passage.

    Memory holds the queries, one block of passages in float32, its product with 1,024 queries and the best `depth` (with ties)
    per query, whatever the size of the corpus.
    """
    sources.corpus.require("dense")
    sources.queries.require("dense")
    device, size = sources.runtime.device, sources.runtime.search_block
    queries = torch.from_numpy(sources.queries.dense(np.arange(len(sources.queries)))).to(device)
    best = TopK(len(queries), depth)
    passages = torch.empty(min(size, len(sources.corpus)), queries.shape[1], device=device)  # reused: fresh memory is slow
    for start, block in sources.corpus.dense_blocks(size):
        score(queries, start, passages[: len(block)].copy_(torch.from_numpy(block).to(device)), best)
    return best.run(sources.queries.ids, sources.corpus.ids_of)


def score(queries: torch.Tensor, start: int, passages: torch.Tensor, best: TopK) -> None:
    """Scores one block for all queries.

    Args:
        queries: [q, d] float32.
        start: first row of the block.
        passages: [p, d] float32.
        best: where what may be among the best goes.
    """
    n = len(passages)
    for first in range(0, len(queries), QUERIES):
        scores = queries[first : first + QUERIES] @ passages.T
        bars = torch.from_numpy(best.bars[first : first + QUERIES]).to(scores.device)
        if n > best.depth and bars.isinf().any():  # the first block: without a bar all of it would be kept
            bars = bars.maximum(scores.topk(best.depth, sorted=False).values.amin(1))
        kept = (scores >= bars[:, None]).ravel().nonzero().ravel()
        positions, values = kept.cpu().numpy(), scores.ravel()[kept].cpu().numpy()
        cuts = np.searchsorted(positions, np.arange(len(scores) + 1) * n)
        best.add(first, cuts, positions % n + start, values)
