"""Multi-vector retrieval: MaxSim over the best candidates of another retriever, as the M3 paper does (dense top 200)."""

from __future__ import annotations

import numpy as np

from m3eval.console import meter
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources, reads


@reads("stores")
def search(sources: Sources, inputs: list[str], depth: int) -> Run:
    """Reranks the first `depth` documents of the run named in `inputs`.

    Every distinct passage is read from the store or encoded once, for all queries that found it; memory holds the queries'
    vectors and one chunk of passages.
    """
    (candidates,) = inputs
    run = sources.run(candidates)
    qids = sources.queries.ids
    docids = [run[qid].docids[:depth] for qid in qids]
    numbers = sources.corpus.rows_of(docid for ids in docids for docid in ids)
    queries = sources.query_vectors()

    # All (query, rank) pairs, grouped by passage.
    pairs = np.array([(numbers[docid], q, j) for q, ids in enumerate(docids) for j, docid in enumerate(ids)], np.int64)
    pairs = pairs.reshape(-1, 3)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    rows, first = np.unique(pairs[:, 0], return_index=True)
    groups = dict(zip(rows.tolist(), np.split(pairs[:, 1:], first[1:]), strict=False))

    scores = [np.zeros(len(ids), np.float32) for ids in docids]
    with meter(f"multi_vector {sources.language}", len(rows), "passages") as progress:
        for row, vectors in sources.passage_vectors(rows, lambda n: progress.advance(n, n)):
            asking, places = groups[row].T
            found = maths.maxsim([queries[q] for q in asking], vectors)
            for q, place, score in zip(asking, places, found, strict=True):
                scores[q][place] = score
    return {qid: ranked(ids, values, depth) for qid, ids, values in zip(qids, docids, scores, strict=True)}
