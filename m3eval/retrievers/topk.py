"""The best documents of every query, gathered block by block: what exact searches have in common."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from m3eval.retrievers.run import Run, ranked


class TopK:
    """Rows and scores that may still be among the `depth` best of their query; whatever equals the last one is kept too.

    A block's scores below `bars` need not be handed in. What is left at the end does not depend on blocks, nor on the order
    in which threads add them. Memory holds up to 2 x `depth` rows per query, and all that equal the last one.
    """

    def __init__(self, queries: int, depth: int) -> None:
        self.depth = depth
        self.bars = np.full(queries, -np.inf, np.float32)  # [q] the depth-th best score so far
        self._rows: list[list[np.ndarray]] = [[] for _ in range(queries)]
        self._scores: list[list[np.ndarray]] = [[] for _ in range(queries)]
        self._held, self._limits = [0] * queries, [2 * depth] * queries
        self._lock = threading.Lock()

    def add_block(self, first: int, start: int, scores: torch.Tensor) -> None:
        """Takes the scores of consecutive queries with consecutive documents, wherever they were computed.

        Args:
            first: number of the first query.
            start: row of the first document.
            scores: [m, p] float32.
        """
        n = scores.shape[1]
        bars = torch.from_numpy(self.bars[first : first + len(scores)]).to(scores.device)
        if (
            n > self.depth and bars.isinf().any()
        ):  # the first block: without a bar all of it would be kept
            bars = bars.maximum(scores.topk(self.depth, sorted=False).values.amin(1))
            with self._lock:
                part = self.bars[first : first + len(scores)]
                np.maximum(part, bars.cpu().numpy(), out=part)
        kept = (scores >= bars[:, None]).ravel().nonzero().ravel()
        positions, values = kept.cpu().numpy(), scores.ravel()[kept].cpu().numpy()
        cuts = np.searchsorted(positions, np.arange(len(scores) + 1) * n)
        self.add(first, cuts, positions % n + start, values)

    def add(self, first: int, cuts: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> None:
        """Takes copies of documents of consecutive queries; may be called by several threads at once.

        Args:
            first: number of the first query.
            cuts: [m + 1], ascending; query first + i has rows[cuts[i]:cuts[i + 1]].
            rows: [n] int64.
            scores: [n] float32.
        """
        parts, bars = self._shortened(first, cuts, rows, scores)
        with self._lock:
            here = self.bars[first : first + len(bars)]
            np.maximum(here, bars, out=here)
            for query, (rows, scores) in enumerate(parts, first):
                if len(rows):
                    self._rows[query].append(rows)
                    self._scores[query].append(scores)
                    self._held[query] += len(rows)
                    if self._held[query] > self._limits[query]:
                        self._prune(query)

    def _shortened(
        self, first: int, cuts: np.ndarray, rows: np.ndarray, scores: np.ndarray
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """Each query's rows and scores, and bars; of more than 2 x `depth` only the best `depth`. Needs no lock."""
        bars = self.bars[first : first + len(cuts) - 1].copy()
        parts = []
        for i, (low, high) in enumerate(itertools.pairwise(cuts.tolist())):
            kept: slice | np.ndarray = slice(low, high)
            if high - low > 2 * self.depth:
                bars[i] = np.partition(scores[low:high], -self.depth)[-self.depth]
                kept = low + np.flatnonzero(scores[low:high] >= bars[i])
            parts.append((rows[kept].copy(), scores[kept].copy()))
        return parts, bars

    def run(
        self,
        qids: Sequence[str],
        ids_of: Callable[[np.ndarray], dict[int, str]],
        scale: float = 1.0,
    ) -> Run:
        """The lists, in the one order of documents.

        Args:
            qids: q ids.
            ids_of: row -> docid for an array of rows.
            scale: what every score is divided by.
        """
        found = [self._prune(query) for query in range(len(qids))]
        distinct, places = np.unique(
            np.concatenate([rows for rows, _ in found]), return_inverse=True
        )
        names = ids_of(distinct)
        docids = np.array([names[row] for row in distinct.tolist()], object)
        cuts = np.cumsum([len(rows) for rows, _ in found])[:-1]
        return {
            qid: ranked(docids[here].tolist(), scores / np.float32(scale), self.depth)
            for qid, here, (_, scores) in zip(qids, np.split(places, cuts), found, strict=True)
        }

    def _prune(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Drops what is below the bar; gives what is left, as copies that keep no block alive."""
        rows = np.concatenate([np.empty(0, np.int64), *self._rows[query]])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores[query]])
        if len(scores) > self.depth:
            self.bars[query] = np.partition(scores, -self.depth)[-self.depth]
            kept = np.flatnonzero(scores >= self.bars[query])
            rows, scores = rows[kept], scores[kept]
        self._rows[query], self._scores[query] = [rows], [scores]
        self._held[query], self._limits[query] = (
            len(rows),
            len(rows) + self.depth,
        )  # long ties are not sorted at every block
        return rows, scores
