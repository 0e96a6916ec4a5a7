"""The maths of every score but MaxSim, which is in `late_interaction.py`; there is no other place.

Inner product, lexical match and weighted sum (M3 paper, sections 3.2 and 4), BM25, and the
match of terms with vectors (SparseEmbed). Inputs may have 16 bits; every score is computed and
accumulated in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from m3eval.encoders.representations import TermVectors, ragged_range
from m3eval.errors import UserError
from m3eval.lazy import scipy, torch

Quantisation = Literal["none", "ceil100", "ceil100_fp16"]
# By what a score of quantised weights is divided.
QUANTISATION_SCALE = {"none": 1.0, "ceil100": 1e4, "ceil100_fp16": 1e4}

NUMBERS_AT_ONCE = 16_000_000  # in vectors and products; bounds memory


def dense(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """[q, p] float32: inner products of [q, d] and [p, d]."""
    return queries.astype(np.float32) @ documents.astype(np.float32).T


def dense_one(query: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """[p] float32: inner products of [d] and [p, d]; equal documents score equal wherever they lie.

    A matrix product does not promise that.
    """
    return (documents * query).sum(axis=1, dtype=np.float32)


def best_window(queries: torch.Tensor, windows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """[q, p] float32: the largest inner product of each query with a window of each document.

    Args:
        queries: [q, d] float32.
        windows: [sum of counts, d] float32, those of one document after those of the other.
        counts: [p] int64, the windows of each document, at least one.
    """
    products = windows @ queries.T  # [sum of counts, q]
    best = torch.segment_reduce(products, "max", lengths=counts, axis=0, unsafe=True)  # [p, q]
    return best.T.contiguous()


def lexical(
    queries: scipy.sparse.csr_array, terms: scipy.sparse.csr_array
) -> scipy.sparse.csr_array:
    """[q, p] float32: sums of w_query x w_document over shared tokens.

    Pairs that share no token are absent.

    Args:
        queries: [q, vocabulary].
        terms: [vocabulary, p], the documents' matrix transposed.
    """
    return (queries.astype(np.float32, copy=False) @ terms.astype(np.float32, copy=False)).tocsr()


def lexical_pairs(queries: scipy.sparse.csr_array, documents: scipy.sparse.csr_array) -> np.ndarray:
    """[n] float32: the lexical score of row i of one matrix with row i of the other."""
    shared = queries.astype(np.float32).multiply(documents.astype(np.float32)).tocsr()
    return np.asarray(shared.sum(axis=1, dtype=np.float32)).ravel()


def term_match(queries: TermVectors, documents: TermVectors) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the inner products of the two vectors of a term, over the terms that a pair shares.

    Args:
        queries: q texts.
        documents: p texts.

    Returns:
        [q, p] float32, 0 where no term is shared; and [q, p] bool, whether one is.
    """
    scores = np.zeros((len(queries), len(documents)), np.float32)
    shared = np.zeros(scores.shape, bool)
    query_of, document_of = queries.texts, documents.texts
    in_queries, in_documents = _by_term(queries.terms), _by_term(documents.terms)
    for term in in_queries.keys() & in_documents.keys():
        asked, stored = in_queries[term], in_documents[term]
        pairs = np.ix_(query_of[asked], document_of[stored])
        scores[pairs] += dense(queries.vectors[asked], documents.vectors[stored])
        shared[pairs] = True
    return scores, shared


def term_match_pairs(queries: TermVectors, documents: TermVectors, pairs: np.ndarray) -> np.ndarray:
    """[n] float32: the same of n pairs only.

    Args:
        queries: q texts.
        documents: p texts.
        pairs: [n, 2] int64, numbers of a query and a document.
    """
    scores = np.zeros(len(pairs), np.float32)
    above = 1 + max(side.terms.max(initial=0) for side in (queries, documents))
    keys = documents.texts * above + documents.terms  # ascending
    counts = np.diff(queries.offsets)[pairs[:, 0]]
    step = max(1, NUMBERS_AT_ONCE // (max(1, counts.max(initial=1)) * queries.vectors.shape[1]))
    for start in range(0, len(pairs) if len(keys) else 0, step):
        part = slice(start, start + step)
        asked = ragged_range(queries.offsets[pairs[part, 0]], counts[part])
        pair = np.repeat(np.arange(len(pairs))[part], counts[part])
        wanted = pairs[pair, 1] * above + queries.terms[asked]
        places = np.searchsorted(keys, wanted)
        shared = np.flatnonzero(keys[np.minimum(places, len(keys) - 1)] == wanted)
        products = np.einsum(
            "nd,nd->n",
            queries.vectors[asked[shared]].astype(np.float32),
            documents.vectors[places[shared]].astype(np.float32),
        )
        np.add.at(scores, pair[shared], products)
    return scores


def _by_term(terms: np.ndarray) -> dict[int, np.ndarray]:
    """Term -> positions at which it stands, ascending."""
    order = np.argsort(terms, kind="stable")
    distinct, starts = np.unique(terms[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=False))


def weighted_sum(components: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """[n] float32: raw scores times their weights, summed.

    Nothing is normalised: that is the protocol of the M3 paper.
    """
    terms = [
        np.float32(weight) * components[name].astype(np.float32) for name, weight in weights.items()
    ]
    return np.asarray(np.sum(terms, axis=0, dtype=np.float32))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """[n] float32: 1 / (1 + e^-score), without overflow."""
    return scipy.special.expit(scores.astype(np.float32))


def quantise(weights: np.ndarray, rule: Quantisation) -> np.ndarray:
    """[n] float32: lexical weights as an inverted index of whole numbers holds them.

    ceil100 is the ceiling of 100 x weight. ceil100_fp16 rounds that product to float16 first, as
    the M3 paper's scripts did with the model's float16 weights: 0.13 becomes 13 and not 14.

    Raises:
        UserError: the rule is unknown, or a product is beyond float16.
    """
    if rule not in QUANTISATION_SCALE:
        raise UserError(f"quantise={rule}: choose {', '.join(QUANTISATION_SCALE)}.")
    if rule == "none":
        return weights.astype(np.float32)
    if rule == "ceil100":
        # The product is exact: a float16 times 100 fits a float32.
        return np.ceil(weights.astype(np.float32) * np.float32(100))
    if len(weights) and weights.max() * 100 > np.finfo(np.float16).max:
        raise UserError(
            f"quantise={rule}: 100 x the weight {weights.max():g} is beyond float16: use ceil100."
        )
    return np.ceil(weights.astype(np.float16) * np.float16(100)).astype(np.float32)


def bm25_idf(frequencies: np.ndarray, n: int) -> np.ndarray:
    """[vocabulary] float32: ln(1 + (n - df + 0.5) / (df + 0.5)), Lucene's.

    Args:
        frequencies: [vocabulary], the number of documents that have a token.
        n: the number of documents that have any token.
    """
    df = frequencies.astype(np.float64)
    return np.log(1 + (n - df + 0.5) / (df + 0.5)).astype(np.float32)


def bm25_saturation(
    counts: scipy.sparse.csr_array, average_length: float, k1: float, b: float
) -> scipy.sparse.csr_array:
    """[p, vocabulary] float32: tf / (tf + k1 (1 - b + b length / average)), lengths as Lucene's.

    A BM25 score is the lexical match of this with the queries' token counts times idf.

    Args:
        counts: [p, vocabulary], how often each document has each token.
        average_length: tokens of a document, over those that are not empty.
        k1: how fast repetition saturates.
        b: how much length counts, 0 to 1.
    """
    lengths = lucene_length(np.asarray(counts.sum(axis=1)).ravel()).astype(np.float32)
    relative = np.float32(b) * lengths / np.float32(average_length)
    slowdown = np.float32(k1) * (np.float32(1 - b) + relative)  # [p]
    tf = counts.data.astype(np.float32)
    tf /= tf + np.repeat(slowdown, np.diff(counts.indptr))
    return scipy.sparse.csr_array((tf, counts.indices, counts.indptr), shape=counts.shape)


def lucene_length(lengths: np.ndarray) -> np.ndarray:
    """[n] int64: lengths as Lucene gives them back from the one byte that it keeps of each.

    Up to 39 they are exact; above, what exceeds 24 keeps its four leading bits
    (SmallFloat.intToByte4).
    """
    above = np.maximum(lengths.astype(np.int64) - 24, 0)
    bits = np.frexp(above.astype(np.float64))[1]  # of the binary number
    dropped = np.maximum(bits - 4, 0)
    return np.where(lengths < 24, lengths, 24 + ((above >> dropped) << dropped))
