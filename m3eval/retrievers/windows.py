"""Dense search where documents have a vector for each of their windows: a document is as near as its nearest window."""

from __future__ import annotations

import numpy as np
import torch

from m3eval.retrievers import scores as maths
from m3eval.retrievers.topk import TopK
from m3eval.stores.store import Store

QUERIES = 256  # compared at once with a block; bounds memory


def best(queries: torch.Tensor, corpus: Store, depth: int, size: int) -> TopK:
    """Rows and scores of the best documents, as `dense.best` has it; blocks hold whole documents with about `size` windows."""
    found = TopK(len(queries), depth)
    for start, block in corpus.window_blocks(size):
        vectors = torch.from_numpy(block.vectors).to(queries.device).float()
        counts = torch.from_numpy(np.diff(block.offsets)).to(queries.device)
        for first in range(0, len(queries), QUERIES):
            found.add_block(
                first, start, maths.best_window(queries[first : first + QUERIES], vectors, counts)
            )
    return found
