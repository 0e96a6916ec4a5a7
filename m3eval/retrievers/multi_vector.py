"""Multi-vector retrieval: MaxSim over the best candidates of another retriever, as the M3 paper does (dense top 200)."""

from __future__ import annotations

import numpy as np
import torch

from m3eval.console import meter
from m3eval.encoders.execution import ragged_range
from m3eval.encoders.representations import Packed
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources, reads


@reads("stores")
def search(sources: Sources, inputs: list[str], depth: int) -> Run:
    """Reranks the first `depth` documents of the run named in `inputs`.

    Every distinct passage is read from the store or encoded once, for all queries that found it, and scored where it was
    encoded; memory holds the queries' vectors and a few packs of passages.
    """
    (candidates,) = inputs
    run = sources.run(candidates)
    qids = sources.queries.ids
    docids = [run[qid].docids[:depth] for qid in qids]
    numbers = sources.corpus.rows_of(docid for ids in docids for docid in ids)
    queries = sources.query_vectors()

    # All pairs, as row of the passage, number of the query and place in the query's list; grouped by passage.
    pairs = np.array([(numbers[docid], q, i) for q, ids in enumerate(docids) for i, docid in enumerate(ids)], np.int64)
    pairs = pairs.reshape(-1, 3)[np.argsort(pairs.reshape(-1, 3)[:, 0], kind="stable")]
    rows, first, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)

    def pairs_of(some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For some rows: their pairs, and which of the rows each is about."""
        places = np.searchsorted(rows, some)
        return pairs[ragged_range(first[places], counts[places])], np.repeat(np.arange(len(some)), counts[places])

    def score(some: np.ndarray, passages: Packed) -> torch.Tensor:
        asked, of = pairs_of(some)
        return maths.maxsim(queries, passages, np.stack([asked[:, 1], of], axis=1))

    scores = np.zeros((len(qids), depth), np.float32)
    with meter(f"multi_vector {sources.language}", len(rows), "passages") as progress:
        for some, found in sources.over_passages(rows, score, lambda n: progress.advance(n, n)):
            asked, _ = pairs_of(some)
            scores[asked[:, 1], asked[:, 2]] = found
    return {qid: ranked(ids, values[: len(ids)], depth) for qid, ids, values in zip(qids, docids, scores, strict=True)}
