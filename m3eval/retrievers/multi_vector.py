"""Multi-vector retrieval: MaxSim over the candidates of another retriever, or over every document.

The M3 paper takes the first 200 documents of the dense run.
"""

from __future__ import annotations

import numpy as np

from m3eval.console import meter
from m3eval.encoders.representations import Packed
from m3eval.kinds import Count
from m3eval.lazy import torch
from m3eval.retrievers import late_interaction
from m3eval.retrievers.candidates import Candidates
from m3eval.retrievers.document_vectors import Documents
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.retrievers.topk import TopK


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
        return late_interaction.maxsim(queries, documents, candidates.pairs.about(rows)[1])

    scores = np.zeros(len(candidates), np.float32)
    rows = candidates.pairs.rows
    with meter(f"multi_vector {sources.language}", len(rows), "documents") as progress:
        scored = sources.over_documents(rows, compute, lambda n: progress.advance(n, n))
        for part, values in scored:
            scores[candidates.pairs.about(part)[0]] = values
    return candidates.run(scores, depth)


@retriever(
    "MaxSim over every document",
    "stores",
    stored=("multi_vector",),
    partitioned=lambda _: True,
)
def exhaustive(sources: Sources, depth: Count) -> Run:
    """Scores every document where it is encoded, or read where the store has multi-vectors.

    No vectors are kept, but for `runtime.vector_cache` where several languages search a corpus.
    Memory holds the queries' vectors in float32, a few packs of documents with their scores, and
    the best `depth` (with ties) of each query.
    """
    found = sources.query_vectors()
    queries = Packed(found.vectors.float(), found.lengths)
    top = TopK(len(queries.lengths), depth)

    def compute(rows: np.ndarray, documents: Documents) -> torch.Tensor:
        # One call and the last step: a pack that fills the memory is computed again, in halves.
        top.add_block(0, rows, late_interaction.maxsim_of_all(queries, documents))
        return torch.empty(len(rows), 0)

    # Shard by shard, so that what is encoded together is the same whatever part is searched.
    shards = sources.searched.searched_rows
    total = sum(map(len, shards))
    with meter(f"multi_vector_exhaustive {sources.language}", total, "documents") as progress:
        for part in shards:
            rows = np.arange(part.start, part.stop)
            for _ in sources.over_documents(rows, compute, lambda n: progress.advance(n, n)):
                pass
    return top.run(sources.queries.ids, sources.corpus.ids_of)
