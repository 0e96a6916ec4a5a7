"""The first documents of every query's list, which a second retriever scores again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from m3eval.encoders.representations import ragged_range
from m3eval.retrievers.run import Run, ranked


class Pairs:
    """Pairs of a query and a document, looked up by document."""

    def __init__(self, pairs: np.ndarray) -> None:
        """From [n, 2] int64: the number of a query and the row of a document."""
        self.pairs = pairs
        self.order = np.argsort(pairs[:, 1], kind="stable")  # [n] by document
        self.rows, self.starts, self.counts = np.unique(
            pairs[self.order, 1], return_index=True, return_counts=True
        )

    def about(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs about some of the documents.

        Args:
            rows: [m] of the distinct `self.rows`.

        Returns:
            [k] int64, positions among all pairs; and [k, 2] int64, the pairs themselves: the number
            of a query, and which of `rows` the document is.
        """
        places = np.searchsorted(self.rows, rows)
        counts = self.counts[places]
        positions = self.order[ragged_range(self.starts[places], counts)]
        documents = np.repeat(np.arange(len(rows)), counts)
        return positions, np.stack([self.pairs[positions, 0], documents], axis=1)


class Candidates:
    """The first `depth` documents of every query in a run."""

    def __init__(
        self,
        run: Run,
        qids: Sequence[str],
        depth: int,
        rows_of: Callable[[Iterable[str]], dict[str, int]],
    ) -> None:
        """From the run of all `qids`; `rows_of` gives the row of each docid, as `Store.rows_of`."""
        self.qids = qids
        self.docids = [run[qid].docids[:depth] for qid in qids]
        rows = rows_of(docid for docids in self.docids for docid in docids)
        pairs = [(q, rows[docid]) for q, docids in enumerate(self.docids) for docid in docids]
        self.pairs = Pairs(np.array(pairs, np.int64).reshape(-1, 2))

    def __len__(self) -> int:
        """How many pairs there are, one after the other by query."""
        return len(self.pairs.pairs)

    def run(self, scores: np.ndarray, depth: int) -> Run:
        """The run that these scores ([n] float32, of all pairs) give."""
        by_query = np.split(scores, np.cumsum([len(docids) for docids in self.docids])[:-1])
        return {
            qid: ranked(docids, values, depth)
            for qid, docids, values in zip(self.qids, self.docids, by_query, strict=True)
        }
