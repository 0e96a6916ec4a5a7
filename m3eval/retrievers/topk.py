"""The best documents of every query, gathered block by block: what exact searches share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from m3eval.lazy import torch
from m3eval.retrievers.run import Run, ranked


class TopK:
    """The documents that may still be among the `depth` best of their query.

    Whatever equals the last of them stays too. A block's scores below `bars` need not be handed in.
    The result depends neither on the blocks nor on the order in which threads add them. Memory
    holds up to 2 x `depth` rows per query, and all that equal the last one.
    """

    def __init__(self, queries: int, depth: int) -> None:
        """Nothing yet, for so many queries."""
        self.depth = depth
        self.bars = np.full(queries, -np.inf, np.float32)  # [q] the depth-th best score so far
        self._rows: list[list[np.ndarray]] = [[] for _ in range(queries)]
        self._scores: list[list[np.ndarray]] = [[] for _ in range(queries)]
        self._held = [0] * queries  # rows of each query
        self._limits = [2 * depth] * queries  # more rows than this are pruned
        self._lock = threading.Lock()

    def add_block(self, first: int, documents: np.ndarray, scores: torch.Tensor) -> None:
        """Takes the scores of consecutive queries with some documents, on any device.

        Several threads may call it at once.

        Args:
            first: number of the first query.
            documents: [p] int64, the rows of the documents, in any order.
            scores: [m, p] float32.
        """
        m, n = scores.shape
        bars = torch.from_numpy(self.bars[first : first + m]).to(scores.device)
        if n > self.depth and bars.isinf().any():
            # Before the first block there are no bars, and without one all of it would be taken.
            bars = bars.maximum(_last_best(scores, self.depth))
            self._raise(first, bars.cpu().numpy())
        cuts, columns, values = _above(scores, bars)
        self.add(first, cuts, documents[columns], values)

    def _raise(self, first: int, bars: np.ndarray) -> None:
        """Raises the bars of consecutive queries to [m] scores that so many documents reach."""
        with self._lock:
            part = self.bars[first : first + len(bars)]
            np.maximum(part, bars, out=part)

    def add(self, first: int, cuts: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> None:
        """Takes copies of documents of consecutive queries; several threads may call it at once.

        Args:
            first: number of the first query.
            cuts: [m + 1], ascending; query first + i has rows[cuts[i]:cuts[i + 1]].
            rows: [n] int64.
            scores: [n] float32.
        """
        parts, bars = self._shortened(first, cuts, rows, scores)
        self._raise(first, bars)
        with self._lock:
            for query, rows, scores in parts:
                self._rows[query].append(rows)
                self._scores[query].append(scores)
                self._held[query] += len(rows)
                if self._held[query] > self._limits[query]:
                    self._prune(query)

    def _shortened(
        self, first: int, cuts: np.ndarray, rows: np.ndarray, scores: np.ndarray
    ) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], np.ndarray]:
        """Rows and scores of each query that has any, and bars [m]; needs no lock.

        Of more than 2 x `depth` only the best `depth` are left.
        """
        bars = self.bars[first : first + len(cuts) - 1].copy()
        parts = []
        for i in np.flatnonzero(np.diff(cuts)).tolist():
            low, high = int(cuts[i]), int(cuts[i + 1])
            chosen: slice | np.ndarray = slice(low, high)
            if high - low > 2 * self.depth:
                bars[i] = np.partition(scores[low:high], -self.depth)[-self.depth]
                chosen = low + np.flatnonzero(scores[low:high] >= bars[i])
            parts.append((first + i, rows[chosen].copy(), scores[chosen].copy()))
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
        best = [self._prune(query) for query in range(len(qids))]
        distinct, places = np.unique(
            np.concatenate([rows for rows, _ in best]), return_inverse=True
        )
        docid_of = ids_of(distinct)
        docids = np.array([docid_of[row] for row in distinct.tolist()], object)
        cuts = np.cumsum([len(rows) for rows, _ in best])[:-1]
        return {
            qid: ranked(docids[part].tolist(), scores / np.float32(scale), self.depth)
            for qid, part, (_, scores) in zip(qids, np.split(places, cuts), best, strict=True)
        }

    def _prune(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Drops what is below the bar; returns the rest, as copies that hold on to no block."""
        rows = np.concatenate([np.empty(0, np.int64), *self._rows[query]])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores[query]])
        if len(scores) > self.depth:
            self.bars[query] = np.partition(scores, -self.depth)[-self.depth]
            above = np.flatnonzero(scores >= self.bars[query])
            rows, scores = rows[above], scores[above]
        self._rows[query], self._scores[query] = [rows], [scores]
        self._held[query] = len(rows)
        self._limits[query] = len(rows) + self.depth  # long ties are not sorted at every block
        return rows, scores


def _last_best(scores: torch.Tensor, depth: int) -> torch.Tensor:
    """[m]: the depth-th best of each row of [m, p] scores."""
    if scores.device.type == "cpu":  # numpy's partition takes six tenths of the time of topk
        parted = [np.partition(row, -depth)[-depth] for row in scores.numpy()]
        return torch.from_numpy(np.array(parted))
    return scores.topk(depth).values[:, -1]


Above = tuple[np.ndarray, np.ndarray, np.ndarray]


def _above(scores: torch.Tensor, bars: torch.Tensor) -> Above:
    """Which of [m, p] scores reach the bar, [m], of their query.

    Returns:
        cuts: [m + 1]; query i has what stands from cuts[i] to cuts[i + 1].
        columns: [n] int64.
        scores: [n] float32.
    """
    way = above_by_rows if scores.device.type == "cpu" else above_at_once
    return way(scores, bars)


def above_by_rows(scores: torch.Tensor, bars: torch.Tensor) -> Above:
    """See `_above`.

    Row by row, numpy finds the few among the many in the cache, and leaves no large gaps in the
    memory of the process.
    """
    rows = scores.numpy()
    found = [(row >= bar).nonzero()[0] for row, bar in zip(rows, bars.numpy(), strict=True)]
    values = [row[columns] for row, columns in zip(rows, found, strict=True)]
    cuts = np.cumsum([0, *map(len, found)])
    return cuts, np.concatenate(found), np.concatenate(values)


def above_at_once(scores: torch.Tensor, bars: torch.Tensor) -> Above:
    """See `_above`. On an accelerator, so that what is found alone comes to the host."""
    m, n = scores.shape
    flat = (scores >= bars[:, None]).ravel().nonzero().ravel()
    positions, values = flat.cpu().numpy(), scores.ravel()[flat].cpu().numpy()
    return np.searchsorted(positions, np.arange(m + 1) * n), positions % n, values
