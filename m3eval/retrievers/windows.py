"""Dense search where passages have a vector for each of their windows: a passage is as near as its nearest window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from m3eval.encoders.representations import Ragged
from m3eval.retrievers import scores as maths
from m3eval.stores.store import Store

QUERIES = 256  # compared at once with a block; bounds memory


def nearest(queries: np.ndarray, corpus: Store, k: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each block of passages with about `size` windows: scores [q, <= k] float32 and rows [q, <= k] int64 of the best, in
    no order.
    """
    for start, block in corpus.window_blocks(size):
        block = Ragged(block.vectors.astype(np.float32), block.offsets)
        for_all = min(k, len(block))
        scores = np.empty((len(queries), for_all), np.float32)
        rows = np.empty((len(queries), for_all), np.int64)
        for first in range(0, len(queries), QUERIES):
            some = slice(first, first + QUERIES)
            found = maths.best_window(queries[some], block)
            rows[some] = np.argpartition(-found, for_all - 1, axis=1)[:, :for_all]
            scores[some] = np.take_along_axis(found, rows[some], axis=1)
        yield scores, rows + start
