"""Multi-vector retrieval: MaxSim over the candidates of another retriever.

The M3 paper takes the first 200 documents of the dense run.
"""

from __future__ import annotations

import numpy as np

from m3eval.console import meter
from m3eval.kinds import Count
from m3eval.lazy import torch
from m3eval.retrievers import scores as maths
from m3eval.retrievers.candidates import Candidates
from m3eval.retrievers.document_vectors import Documents
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources


@retriever("MaxSim over candidates", "stores", stored=("multi_vector",))
def search(sources: Sources, inputs: list[str], depth: Count) -> Run:
    """Reranks the first `depth` documents of the run named in `inputs`.

    Every distinct document is read from the store or encoded once, for all queries that have it as
    a candidate, and scored where it was encoded. Memory holds the queries' vectors and a few packs
    of documents.
    """
    (first_stage,) = inputs
    candidates = Candidates(
        sources.run(first_stage), sources.queries.ids, depth, sources.corpus.rows_of
    )
    queries = sources.query_vectors()

    def compute(rows: np.ndarray, documents: Documents) -> torch.Tensor:
        return maths.maxsim(queries, documents, candidates.pairs.about(rows)[1])

    scores = np.zeros(len(candidates), np.float32)
    rows = candidates.pairs.rows
    with meter(f"multi_vector {sources.language}", len(rows), "documents") as progress:
        scored = sources.over_documents(rows, compute, lambda n: progress.advance(n, n))
        for part, values in scored:
            scores[candidates.pairs.about(part)[0]] = values
    return candidates.run(scores, depth)
