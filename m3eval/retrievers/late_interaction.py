"""The maths of MaxSim (M3 paper, section 3.2): on a CPU document by document, on others in batches.

Vectors may have 16 bits; every product is computed and accumulated in float32.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from m3eval.encoders.representations import Packed, Separate, ragged_range
from m3eval.encoders.transfer import to_device
from m3eval.lazy import torch
from m3eval.retrievers import maxsim_plan
from m3eval.threads import single_threaded

NUMBERS_AT_ONCE = 16_000_000  # in vectors and products; bounds memory
QUERIES_AT_ONCE = 64  # that an accelerator holds against a document in one matrix
# On a CPU: vectors on either side of a product, and documents of a thread's turn.
VECTORS_AT_ONCE, DOCUMENTS_AT_ONCE = 512, 16


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
