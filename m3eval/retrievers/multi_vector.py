"""Multi-vector retrieval: MaxSim over the best candidates of another retriever, as the M3 paper does (dense top 200)."""

from __future__ import annotations

import functools

import numpy as np
import torch

from m3eval.console import meter
from m3eval.encoders.representations import Packed, ragged_range
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources


@retriever("MaxSim over candidates", "stores", stored=("multi_vector",))
def search(sources: Sources, inputs: list[str], depth: int) -> Run:
    """Reranks the first `depth` documents of the run named in `inputs`.

    Every distinct document is read from the store or encoded once, for all queries that found it, and scored where it was
    encoded; memory holds the queries' vectors and a few packs of documents.
    """
    (candidates,) = inputs
    run = sources.run(candidates)
    qids = sources.queries.ids
    docids = [run[qid].docids[:depth] for qid in qids]
    numbers = sources.corpus.rows_of(docid for ids in docids for docid in ids)
    queries = sources.query_vectors()

    pairs = Pairs(
        np.array(
            [(q, numbers[docid]) for q, ids in enumerate(docids) for docid in ids], np.int64
        ).reshape(-1, 2)
    )
    scores = np.zeros(len(pairs.pairs), np.float32)
    with meter(f"multi_vector {sources.language}", len(pairs.rows), "documents") as progress:
        found = sources.over_documents(
            pairs.rows, functools.partial(pairs.maxsim, queries), lambda n: progress.advance(n, n)
        )
        for rows, values in found:
            scores[pairs.about(rows)[0]] = values
    parts = np.split(scores, np.cumsum([len(ids) for ids in docids])[:-1])
    return {
        qid: ranked(ids, values, depth)
        for qid, ids, values in zip(qids, docids, parts, strict=True)
    }


class Pairs:
    """Pairs of a query and a document, found again by document."""

    def __init__(self, pairs: np.ndarray) -> None:
        """From [n, 2] int64, number of the query and row of the document."""
        self.pairs = pairs
        self.order = np.argsort(pairs[:, 1], kind="stable")
        self.rows, self.first, self.counts = np.unique(
            pairs[self.order, 1], return_index=True, return_counts=True
        )

    def about(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[m], [m] int64: positions of the pairs about some of the documents, and which of `rows` each is about."""
        places = np.searchsorted(self.rows, rows)
        counts = self.counts[places]
        return self.order[ragged_range(self.first[places], counts)], np.repeat(
            np.arange(len(rows)), counts
        )

    def maxsim(self, queries: Packed, rows: np.ndarray, documents: Packed) -> torch.Tensor:
        """[m] float32: scores of the pairs about `rows`, whose vectors `documents` has, in the order of `about`."""
        positions, which = self.about(rows)
        return maths.maxsim(queries, documents, np.stack([self.pairs[positions, 0], which], axis=1))
