"""The maths of a score, in one place: inner product, lexical match, MaxSim, weighted sum (M3 paper, sections 3.2 and 4), BM25,
and the match of terms with vectors (SparseEmbed).

Inputs may be 16-bit; every score is computed and accumulated in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy.sparse
import scipy.special
import torch

from m3eval.encoders.representations import Packed, TermVectors, ragged_range
from m3eval.errors import UserError

Quantisation = Literal["none", "ceil100", "ceil100_fp16"]
QUANTISATION_SCALE = {
    "none": 1.0,
    "ceil100": 1e4,
    "ceil100_fp16": 1e4,
}  # a score of quantised weights is divided by it


PAIR_NUMBERS = 16_000_000  # of vectors and products that MaxSim has before it at once
QUERIES_TOGETHER = 64  # that MaxSim holds against a document at once


def dense(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """[q, p] float32: inner products of [q, d] and [p, d]."""
    return queries.astype(np.float32) @ documents.astype(np.float32).T


def best_window(queries: torch.Tensor, windows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """[q, p] float32: the largest inner product of each query with a window of each document.

    Args:
        queries: [q, d] float32.
        windows: [sum of counts, d] float32, those of one document after those of the other.
        counts: [p] int64, one or more windows of each.
    """
    return torch.segment_reduce(
        windows @ queries.T, "max", lengths=counts, axis=0, unsafe=True
    ).T.contiguous()


def lexical(
    queries: scipy.sparse.csr_array, terms: scipy.sparse.csr_array
) -> scipy.sparse.csr_array:
    """[q, p] float32: sums of w_query x w_document over shared tokens; pairs that share none are absent.

    Args:
        queries: [q, vocabulary].
        terms: [vocabulary, p], the documents' matrix transposed.
    """
    return (queries.astype(np.float32, copy=False) @ terms.astype(np.float32, copy=False)).tocsr()


def lexical_pairs(queries: scipy.sparse.csr_array, documents: scipy.sparse.csr_array) -> np.ndarray:
    """[n] float32: the lexical score of row i of one matrix with row i of the other."""
    shared = queries.astype(np.float32).multiply(documents.astype(np.float32)).tocsr()
    return np.asarray(shared.sum(axis=1, dtype=np.float32)).ravel()


def maxsim(queries: Packed, documents: Packed, pairs: np.ndarray) -> torch.Tensor:
    """[n] float32: for each pair the mean over the query's tokens of the largest inner product with a token of the document.

    Args:
        queries: vectors of q queries.
        documents: vectors of p documents, on the same device.
        pairs: [n, 2] int64, numbers of a query and a document.

    No padding takes part in a maximum, so a negative one stays negative. A query or a document without a single vector
    scores 0. Memory beyond the inputs stays within some 300 MB, however many the pairs.
    """
    device, width = documents.vectors.device, documents.vectors.shape[1]
    scores = torch.zeros(len(pairs), dtype=torch.float32, device=device)
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    order = order[documents.lengths[pairs[order, 1]] > 0]
    asked, about = pairs[order].T
    # A group: one document and up to QUERIES_TOGETHER of those who ask for it, whose tokens are one matrix.
    begins = np.flatnonzero(
        (np.arange(len(order)) - np.searchsorted(about, about)) % QUERIES_TOGETHER == 0
    )
    counts = np.diff(begins, append=len(order))
    total = np.concatenate([[0], np.cumsum(queries.lengths[asked])])
    tokens, sizes = total[begins + counts] - total[begins], documents.lengths[about[begins]]
    bounds = 2 ** np.ceil(np.log2(np.maximum(tokens, 1))).astype(np.int64)
    walk, start = np.lexsort((-sizes, -bounds)), 0  # groups of like shapes are computed together
    while start < len(walk):
        longest, most = int(sizes[walk[start]]), int(bounds[walk[start]])
        some = walk[
            start : start + max(1, PAIR_NUMBERS // ((longest + most) * width + longest * most))
        ]
        some = some[bounds[some] == most]
        start += len(some)
        members = ragged_range(begins[some], counts[some])
        lengths = queries.lengths[asked[members]]
        rows = ragged_range((np.cumsum(queries.lengths) - queries.lengths)[asked[members]], lengths)
        places = torch.from_numpy(ragged_range(np.arange(len(some)) * most, tokens[some])).to(
            device
        )
        matrix = torch.zeros(len(some) * most, width, device=device)
        matrix[places] = queries.vectors[torch.from_numpy(rows).to(device)].float()
        found, real = documents.padded(about[begins[some]])
        products = torch.bmm(
            found, matrix.view(len(some), most, width).mT
        )  # [groups, document tokens, query tokens]
        if sizes[some].min() < longest:
            products.masked_fill_(~real[:, :, None], -torch.inf)
        best, of_query = products.amax(1).ravel()[places], torch.from_numpy(lengths).to(device)
        sums = torch.segment_reduce(best, "sum", lengths=of_query, unsafe=True)
        scores[torch.from_numpy(order[members]).to(device)] = sums / of_query.clamp_min(1)
    return scores


def best_matches(queries: Packed, documents: Packed, pairs: np.ndarray) -> torch.Tensor:
    """[n, longest query, 2] float32: what `maxsim` is the mean of, for each pair and query token the number of its best document
    token (the first of equals) and their inner product. Where there is no such token: 0 and 0.

    Args:
        queries: as for `maxsim`, like the others.
        documents: on the same device.
        pairs: [n, 2] int64.
    """
    longest = int(queries.lengths[pairs[:, 0]].max(initial=0))
    found = torch.zeros((len(pairs), longest, 2), device=documents.vectors.device)
    q_ends, p_ends = np.cumsum(queries.lengths), np.cumsum(documents.lengths)
    for i, (q, p) in enumerate(pairs):
        asked = queries.vectors[q_ends[q] - queries.lengths[q] : q_ends[q]].float()
        given = documents.vectors[p_ends[p] - documents.lengths[p] : p_ends[p]].float()
        if len(asked) and len(given):
            best = (asked @ given.T).max(1)
            found[i, : len(asked)] = torch.stack([best.indices.float(), best.values], dim=1)
    return found


def term_match(queries: TermVectors, documents: TermVectors) -> tuple[np.ndarray, np.ndarray]:
    """Sums, over the terms that a query and a document share, of the inner products of the term's two vectors.

    Args:
        queries: q texts.
        documents: p texts.

    Returns:
        [q, p] float32, 0 where no term is shared; [q, p] bool, where one is.
    """
    scores = np.zeros((len(queries), len(documents)), np.float32)
    shared = np.zeros(scores.shape, bool)
    places = [(side.texts, *_by_term(side.terms)) for side in (queries, documents)]
    for term in places[0][2].keys() & places[1][2].keys():
        (asked, asked_texts), (found, found_texts) = (
            (order[there[term]], texts[order[there[term]]]) for texts, order, there in places
        )
        pairs = np.ix_(asked_texts, found_texts)
        scores[pairs] += dense(queries.vectors[asked], documents.vectors[found])
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
    step = max(1, PAIR_NUMBERS // (max(1, counts.max(initial=1)) * queries.vectors.shape[1]))
    for start in range(0, len(pairs), step):
        some = slice(start, start + step)
        asked = ragged_range(queries.offsets[pairs[some, 0]], counts[some])
        pair = np.repeat(np.arange(len(pairs))[some], counts[some])
        wanted = pairs[pair, 1] * above + queries.terms[asked]
        places = np.searchsorted(keys, wanted)
        hit = (
            np.flatnonzero(keys[np.minimum(places, len(keys) - 1)] == wanted)
            if len(keys)
            else places[:0]
        )
        vectors = (queries.vectors[asked[hit]], documents.vectors[places[hit]])
        np.add.at(
            scores, pair[hit], np.einsum("nd,nd->n", *(side.astype(np.float32) for side in vectors))
        )
    return scores


def _by_term(terms: np.ndarray) -> tuple[np.ndarray, dict[int, slice]]:
    """Places of equal terms side by side, and where those of each term are among them."""
    order = np.argsort(terms, kind="stable")
    distinct = np.unique(terms[order], return_index=True, return_counts=True)
    return order, {
        term: slice(first, first + n)
        for term, first, n in zip(*map(np.ndarray.tolist, distinct), strict=True)
    }


def weighted_sum(components: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """[n] float32: raw scores times their weights, summed; nothing is normalised (protocol of the M3 paper)."""
    terms = [
        np.float32(weight) * components[name].astype(np.float32) for name, weight in weights.items()
    ]
    return np.sum(terms, axis=0, dtype=np.float32)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """[n] float32: 1 / (1 + e^-score), without overflow."""
    return scipy.special.expit(scores.astype(np.float32))


def quantise(weights: np.ndarray, rule: Quantisation) -> np.ndarray:
    """[n] float32: lexical weights as an inverted index of whole numbers holds them.

    ceil100 is the ceiling of 100 x weight. ceil100_fp16 rounds that product to float16 first, as the M3 paper's scripts
    did with the model's float16 weights: 0.13 becomes 13 and not 14.

    Raises:
        UserError: the rule is unknown, or a product is beyond float16.
    """
    if rule not in QUANTISATION_SCALE:
        raise UserError(f"quantise={rule}: choose {', '.join(QUANTISATION_SCALE)}.")
    if rule == "none":
        return weights.astype(np.float32)
    if rule == "ceil100":
        return np.ceil(
            weights.astype(np.float32) * np.float32(100)
        )  # exact: a float16 times 100 fits a float32
    if len(weights) and weights.max() * 100 > np.finfo(np.float16).max:
        raise UserError(
            f"quantise={rule}: 100 x the weight {weights.max():g} is beyond float16: use ceil100."
        )
    return np.ceil(weights.astype(np.float16) * np.float16(100)).astype(np.float32)


def bm25_idf(frequencies: np.ndarray, n: int) -> np.ndarray:
    """[vocabulary] float32: ln(1 + (n - df + 0.5) / (df + 0.5)), Lucene's; n counts the documents that are not empty."""
    df = frequencies.astype(np.float64)
    return np.log(1 + (n - df + 0.5) / (df + 0.5)).astype(np.float32)


def bm25_saturation(
    counts: scipy.sparse.csr_array, average_length: float, k1: float, b: float
) -> scipy.sparse.csr_array:
    """[p, vocabulary] float32: tf / (tf + k1 (1 - b + b length / average)) with Lucene's coarse lengths.

    A BM25 score is the lexical match of this with the queries' token counts times idf.

    Args:
        counts: [p, vocabulary], how often each document has each token.
        average_length: tokens of a document, over those that are not empty.
        k1: how fast repetition saturates.
        b: how much length counts, 0 to 1.
    """
    lengths = lucene_length(np.asarray(counts.sum(axis=1)).ravel()).astype(np.float32)
    slowdown = np.float32(k1) * (
        np.float32(1 - b) + np.float32(b) * lengths / np.float32(average_length)
    )  # [p]
    tf = counts.data.astype(np.float32)
    tf /= tf + np.repeat(slowdown, np.diff(counts.indptr))
    return scipy.sparse.csr_array((tf, counts.indices, counts.indptr), shape=counts.shape)


def lucene_length(lengths: np.ndarray) -> np.ndarray:
    """[n] int64: lengths as they come back from the one byte Lucene keeps of them (SmallFloat.intToByte4).

    Up to 39 they are exact; above, what exceeds 24 keeps its four leading bits.
    """
    above = np.maximum(lengths.astype(np.int64) - 24, 0)
    bits = np.frexp(above.astype(np.float64))[1]  # of the binary number
    dropped = np.maximum(bits - 4, 0)
    return np.where(lengths < 24, lengths, 24 + ((above >> dropped) << dropped))
