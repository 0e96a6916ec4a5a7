"""The maths of every score, in this file and nowhere else.

Inner product, lexical match, MaxSim and weighted sum (M3 paper, sections 3.2 and 4), BM25, and the
match of terms with vectors (SparseEmbed). Inputs may have 16 bits; every score is computed and
accumulated in float32.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from m3eval.encoders.representations import Packed, Separate, TermVectors, ragged_range
from m3eval.encoders.transfer import to_device
from m3eval.errors import UserError
from m3eval.lazy import scipy, torch
from m3eval.retrievers import maxsim_plan
from m3eval.threads import single_threaded

Quantisation = Literal["none", "ceil100", "ceil100_fp16"]
# By what a score of quantised weights is divided.
QUANTISATION_SCALE = {"none": 1.0, "ceil100": 1e4, "ceil100_fp16": 1e4}

NUMBERS_AT_ONCE = 16_000_000  # in vectors and products; bounds memory
QUERIES_AT_ONCE = 64  # that MaxSim on an accelerator holds against a document in one matrix
# On a CPU: vectors on either side of a product, and documents of a thread's turn.
VECTORS_AT_ONCE, DOCUMENTS_AT_ONCE = 512, 16


def dense(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """[q, p] float32: inner products of [q, d] and [p, d]."""
    return queries.astype(np.float32) @ documents.astype(np.float32).T


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


def maxsim(queries: Packed, documents: Packed | Separate, pairs: np.ndarray) -> torch.Tensor:
    """[n] float32: the mean over a query's tokens of the best inner product with a document's.

    No padding takes part in a maximum, so a negative maximum stays negative. A query or a document
    without a single vector scores 0. Memory beyond the inputs stays within some 300 MB, however
    many the pairs.

    Args:
        queries: vectors of q queries.
        documents: vectors of p documents, on the same device.
        pairs: [n, 2] int64, numbers of a query and a document.
    """
    if isinstance(documents, Packed) and documents.vectors.device.type != "cpu":
        return maxsim_in_batches(queries, documents, pairs)
    return maxsim_by_document(queries, documents, pairs)


def maxsim_by_document(
    queries: Packed, documents: Packed | Separate, pairs: np.ndarray
) -> torch.Tensor:
    """MaxSim as a CPU computes it: a product for each document, where its vectors lie.

    Nothing is padded, and a document's vectors are converted once for all of its queries. torch's
    threads each take a few documents at a time, with one thread per product: the bytes are the
    same for any number of threads, and for any share of the documents in a call.
    """
    scores = torch.zeros(len(pairs), dtype=torch.float32)
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))  # by document, then by query
    order = order[documents.lengths[pairs[order, 1]] > 0]
    if not len(order):
        return scores
    starts = np.flatnonzero(np.diff(pairs[order, 1], prepend=-1))  # [distinct documents]
    turns = np.split(order, starts[DOCUMENTS_AT_ONCE::DOCUMENTS_AT_ONCE])
    vectors = documents.each()
    for turn, values in _in_turns(
        lambda turn: _maxsim_of_turn(queries, vectors, pairs[turn]), turns
    ):
        scores[torch.from_numpy(turn)] = values
    return scores


def _in_turns(
    score: Callable[[np.ndarray], torch.Tensor], turns: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Each turn and its scores; torch's threads share the turns, with one thread per product."""
    with contextlib.ExitStack() as stack:
        over: Callable[..., Iterator[torch.Tensor]] = map
        if (threads := torch.get_num_threads()) > 1:
            over = stack.enter_context(single_threaded(min(threads, len(turns)), "maxsim")).map
        yield from zip(turns, over(score, turns), strict=True)


def _maxsim_of_turn(
    queries: Packed, documents: Sequence[torch.Tensor], pairs: np.ndarray
) -> torch.Tensor:
    """The same of a few documents' pairs, document by document, in this thread."""
    first_token = np.cumsum(queries.lengths) - queries.lengths  # [q]
    lengths = queries.lengths[pairs[:, 0]]  # [n]
    tokens = torch.from_numpy(ragged_range(first_token[pairs[:, 0]], lengths))  # [t]
    best = torch.empty(len(tokens))
    starts = np.flatnonzero(np.diff(pairs[:, 1], prepend=-1))
    cuts = np.append(np.cumsum(lengths) - lengths, len(tokens))[np.append(starts, len(pairs))]
    numbers = pairs[starts, 1].tolist()
    room = torch.empty(VECTORS_AT_ONCE, queries.vectors.shape[1])  # fresh memory is slow
    for number, (low, high) in zip(numbers, itertools.pairwise(cuts.tolist()), strict=True):
        for start in range(low, high, VECTORS_AT_ONCE):
            asked = slice(start, min(start + VECTORS_AT_ONCE, high))
            vectors = queries.vectors.index_select(0, tokens[asked]).float()
            for i, part in enumerate(documents[number].split(VECTORS_AT_ONCE)):
                stored = room[: len(part)].copy_(part)
                maxima = torch.mm(vectors, stored.T).amax(1)
                best[asked] = torch.maximum(best[asked], maxima) if i else maxima
    counts = torch.from_numpy(lengths)
    return torch.segment_reduce(best, "sum", lengths=counts, unsafe=True) / counts.clamp_min(1)


def maxsim_in_batches(queries: Packed, documents: Packed, pairs: np.ndarray) -> torch.Tensor:
    """MaxSim as an accelerator computes it: few and large products of documents alike in length.

    One for each document would start thousands of small ones, each shorter than its start.
    """
    device, dimensions = documents.vectors.device, documents.vectors.shape[1]
    scores = torch.zeros(len(pairs), dtype=torch.float32, device=device)
    for batch in maxsim_plan.batches(
        queries.lengths, documents.lengths, pairs, dimensions, NUMBERS_AT_ONCE, QUERIES_AT_ONCE
    ):
        groups = len(batch.documents)
        places, lengths = to_device(batch.places, device), to_device(batch.lengths, device)
        asked = torch.zeros(groups * batch.width, dimensions, device=device)
        asked[places] = queries.vectors[to_device(batch.tokens, device)].float()
        asked = asked.view(groups, batch.width, dimensions)
        vectors, real = documents.padded(batch.documents)  # [groups, longest, dimensions]
        products = torch.bmm(vectors, asked.mT)  # [groups, longest, width]
        if documents.lengths[batch.documents].min() < vectors.shape[1]:
            products.masked_fill_(~real[:, :, None], -torch.inf)
        best = products.amax(1).ravel()[places]  # [tokens of all pairs]
        sums = torch.segment_reduce(best, "sum", lengths=lengths, unsafe=True)  # [pairs]
        scores[to_device(batch.pairs, device)] = sums / lengths.clamp_min(1)
    return scores


def maxsim_of_all(queries: Packed, documents: Packed | Separate) -> torch.Tensor:
    """[q, p] float32: `maxsim` of every query with every document.

    Args:
        queries: vectors of q queries; in float32 they need not be converted at every call.
        documents: vectors of p documents, on the same device.
    """
    if isinstance(documents, Packed) and documents.vectors.device.type != "cpu":
        return maxsim_of_all_in_blocks(queries, documents)
    return maxsim_of_all_by_document(queries, documents)


def maxsim_of_all_by_document(queries: Packed, documents: Packed | Separate) -> torch.Tensor:
    """The same as a CPU computes it: no query's vectors are gathered for a document.

    As in `maxsim_by_document`, the bytes are the same for any number of threads, and for any share
    of the documents in a call.
    """
    scores = torch.zeros(len(queries.lengths), len(documents.lengths))
    numbers = np.flatnonzero(documents.lengths)
    if not len(numbers) or not len(queries.vectors):
        return scores
    turns = np.split(numbers, range(DOCUMENTS_AT_ONCE, len(numbers), DOCUMENTS_AT_ONCE))
    vectors = documents.each()
    for turn, values in _in_turns(
        lambda turn: _all_with_turn(queries, [vectors[number] for number in turn]), turns
    ):
        scores[:, torch.from_numpy(turn)] = values
    return scores


def _all_with_turn(queries: Packed, documents: Sequence[torch.Tensor]) -> torch.Tensor:
    """[q, p] of a few documents that have vectors, document by document, in this thread."""
    n, dimensions = queries.vectors.shape
    best = torch.empty(n, len(documents))
    room = torch.empty(VECTORS_AT_ONCE, dimensions)  # fresh memory is slow
    for number, document in enumerate(documents):
        for i, part in enumerate(document.split(VECTORS_AT_ONCE)):
            stored = room[: len(part)].copy_(part).T
            for low in range(0, n, VECTORS_AT_ONCE):
                asked = slice(low, low + VECTORS_AT_ONCE)
                maxima = torch.mm(queries.vectors[asked].float(), stored).amax(1)
                so_far = best[asked, number]
                best[asked, number] = torch.maximum(so_far, maxima) if i else maxima
    return _means(best, torch.from_numpy(queries.lengths))


def maxsim_of_all_in_blocks(queries: Packed, documents: Packed) -> torch.Tensor:
    """The same as an accelerator computes it: one product for many queries and documents."""
    device, dimensions = documents.vectors.device, documents.vectors.shape[1]
    scores = torch.zeros(len(queries.lengths), len(documents.lengths), device=device)
    at_once = max(1, NUMBERS_AT_ONCE // dimensions)
    for numbers, of_documents in _blocks(documents, at_once):
        vectors, lengths = of_documents.vectors.float(), to_device(of_documents.lengths, device)
        for asked, part in _blocks(queries, max(1, NUMBERS_AT_ONCE // len(vectors))):
            products = vectors @ part.vectors.float().T  # [document vectors, query vectors]
            best = torch.segment_reduce(products, "max", lengths=lengths, axis=0, unsafe=True)
            means = _means(best.T.contiguous(), to_device(part.lengths, device))
            places = to_device(asked, device)[:, None], to_device(numbers, device)[None]
            scores[places] = means
    return scores


def _blocks(texts: Packed, at_once: int) -> Iterator[tuple[np.ndarray, Packed]]:
    """Numbers of consecutive texts that have vectors, and these: about `at_once` vectors."""
    numbers = np.flatnonzero(texts.lengths)
    ends = np.cumsum(texts.lengths[numbers])
    cuts = 1 + np.flatnonzero(np.diff(ends // at_once))
    for part in np.split(numbers, cuts) if len(numbers) else ():
        lengths = texts.lengths[part]
        last = int(texts.lengths[: part[-1] + 1].sum())
        yield part, Packed(texts.vectors[last - int(lengths.sum()) : last], lengths)


def _means(best: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """[q, p] of [sum of q lengths, p]: the mean over each query's vectors; 0 where it has none."""
    sums = torch.segment_reduce(best, "sum", lengths=lengths, axis=0, unsafe=True)
    return sums / lengths.clamp_min(1)[:, None]


def best_matches(queries: Packed, documents: Packed | Separate, pairs: np.ndarray) -> torch.Tensor:
    """[n, longest query, 2] float32: what `maxsim` is the mean of.

    For each pair and token of the query: the number of the document token that matches it best (the
    first of equals), and their inner product. Where there is no such token: 0 and 0.

    Args:
        queries: vectors of q queries.
        documents: vectors of p documents, on the same device.
        pairs: [n, 2] int64, numbers of a query and a document.
    """
    longest = int(queries.lengths[pairs[:, 0]].max(initial=0))
    matches = torch.zeros((len(pairs), longest, 2), device=queries.vectors.device)
    of_query, of_document = queries.each(), documents.each()
    for i, (q, p) in enumerate(pairs.tolist()):
        query, document = of_query[q].float(), of_document[p].float()
        if len(query) and len(document):
            best = (query @ document.T).max(1)
            matches[i, : len(query)] = torch.stack([best.indices.float(), best.values], dim=1)
    return matches


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
