"""Sparse retrieval: exact lexical scores from the stores.

Either from postings of our own or, as the M3 paper did it, by Lucene.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from m3eval.errors import UserError
from m3eval.files import digest
from m3eval.kinds import Count
from m3eval.lazy import scipy
from m3eval.retrievers import lucene, postings
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.stores.store import Store


@retriever(
    "lexical match of learned weights",
    "stores",
    stored=("sparse",),
    partitioned=lambda settings: settings["engine"] == "native",
)
def search(
    sources: Sources,
    depth: Count,
    engine: Literal["native", "lucene"],
    quantise: maths.Quantisation,
    drop_everywhere_tokens: bool,
) -> Run:
    """Scores every document that shares a token with a query; others are not retrieved.

    Both engines give the same run.

    Args:
        sources: the stores.
        depth: documents per query.
        engine: native multiplies blocks of the memory-mapped store; lucene builds an impact index
            of whole numbers.
        quantise: how weights become whole numbers on both sides, see `scores.quantise`; scores are
            divided back.
        drop_everywhere_tokens: leave out the query tokens that occur in every document, as
            pyserini's query encoder does.

    Raises:
        UserError: the stores have no sparse representation, a setting is unknown, or Lucene is
            asked for real numbers.
    """
    sources.searched.require("sparse")
    sources.queries.require("sparse")
    maths.quantise(np.empty(0, np.float32), quantise)  # an unknown rule ends here
    qids = sources.queries.ids
    queries = _quantised(sources.queries.sparse(np.arange(len(qids))), quantise)
    if drop_everywhere_tokens:  # of all documents, whatever part of them is searched
        sources.corpus.require("sparse")
        queries = _without(queries, _everywhere(sources.corpus, sources.runtime.search_block))
    scale = maths.QUANTISATION_SCALE[quantise]
    if engine == "native":
        return postings.search(
            qids,
            queries,
            _blocks(sources, quantise),
            sources.corpus.ids_of,
            depth,
            sources.runtime.threads,
            scale,
        )
    if engine == "lucene":
        if quantise == "none":
            raise UserError(
                "retriever.sparse.engine=lucene holds whole numbers only: set "
                "retriever.sparse.quantise=ceil100_fp16 (the M3 paper's) or ceil100, or "
                "engine=native."
            )
        path = sources.scratch / f"impacts-{digest(quantise)[:8]}"
        lucene.build(path, _impacts(sources, quantise), lucene.IMPACTS, sources.runtime)
        return lucene.search_impacts(path, qids, queries, depth, scale, sources.runtime)
    raise UserError(f"retriever.sparse.engine={engine}: choose native or lucene.")


def _blocks(sources: Sources, rule: maths.Quantisation) -> Iterator[postings.Block]:
    """The documents' weights as `postings.search` reads them."""

    def quantising(
        read: Callable[[np.ndarray], scipy.sparse.csr_array],
    ) -> Callable[[np.ndarray], scipy.sparse.csr_array]:
        return lambda tokens: _quantised(read(tokens), rule)

    for start, read in sources.searched.sparse_columns(sources.runtime.search_block):
        yield start, quantising(read)


def _quantised(matrix: scipy.sparse.csr_array, rule: maths.Quantisation) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(
        (maths.quantise(matrix.data, rule), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def _everywhere(corpus: Store, block: int) -> np.ndarray:
    """[vocabulary] bool: the tokens that every document has."""
    by_block = (
        np.bincount(rows.indices, minlength=rows.shape[1])
        for _, rows in corpus.sparse_blocks(block)
    )
    return functools.reduce(np.add, by_block) == len(corpus)


def _without(matrix: scipy.sparse.csr_array, tokens: np.ndarray) -> scipy.sparse.csr_array:
    """The matrix without the entries of some tokens ([vocabulary] bool)."""
    matrix = matrix.copy()
    matrix.data[tokens[matrix.indices]] = 0
    matrix.eliminate_zeros()
    return matrix


def _impacts(sources: Sources, rule: maths.Quantisation) -> Iterator[dict[str, Any]]:
    """The documents as Anserini's JsonVectorCollection reads them.

    Documents without a token are left out.
    """
    for start, block in sources.corpus.sparse_blocks(sources.runtime.search_block):
        weights = _quantised(block, rule)
        docids = sources.corpus.ids_of(np.arange(start, start + weights.shape[0]))
        bounds = zip(weights.indptr[:-1], weights.indptr[1:], strict=True)
        for row, (low, high) in enumerate(bounds, start=start):
            if low < high:
                tokens = map(str, weights.indices[low:high].tolist())
                impacts = weights.data[low:high].astype(int).tolist()
                vector = dict(zip(tokens, impacts, strict=True))
                yield {"id": docids[row], "contents": "", "vector": vector}
