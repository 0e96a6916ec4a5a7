"""Scores of queries with documents, differentiable: dense, lexical and MaxSim.

The formulas are those of `retrievers/scores.py`, which `tests/training/test_similarity.py` holds
these against. Here texts are padded tensors, so that processes can exchange them.
"""

from __future__ import annotations

from m3eval.lazy import torch

# What a model makes of n texts: tensors by name, each [n, ...]. Zero rows behind a text's own say
# nothing, so tensors of different lengths can be padded with zeros.
Embedded = dict[str, "torch.Tensor"]

PRODUCTS_AT_ONCE = 16_000_000  # of tokens with tokens; bounds memory
DOCUMENTS_AT_ONCE = 8  # that are padded to the longest of them


def dense(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """[q, p]: inner products of [q, d] and [p, d]."""
    return queries @ documents.T


def lexical(
    query_terms: torch.Tensor,
    query_weights: torch.Tensor,
    document_terms: torch.Tensor,
    document_weights: torch.Tensor,
) -> torch.Tensor:
    """[q, p]: sums of w_query x w_document over shared terms; of equal terms the largest counts.

    There is a column for each distinct term of the queries, and none for others, so no matrix is
    as wide as the vocabulary.

    Args:
        query_terms: [q, n] int64, the terms of each token.
        query_weights: [q, n], none below 0; 0: the token does not count.
        document_terms: [p, m] int64.
        document_weights: [p, m].
    """
    columns = query_terms.unique()
    return (
        _by_column(columns, query_terms, query_weights)
        @ _by_column(columns, document_terms, document_weights).T
    )


def _by_column(columns: torch.Tensor, terms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """[n, columns]: the largest weight of each text for each of the terms, which are in order."""
    places = torch.searchsorted(columns, terms).clamp_max(len(columns) - 1)  # [n, m]
    weights = torch.where(columns[places] == terms, weights, torch.zeros_like(weights))
    nothing = weights.new_zeros(len(terms), len(columns))
    return nothing.scatter_reduce(1, places, weights, "amax")


def maxsim(
    query_vectors: torch.Tensor,
    query_real: torch.Tensor,
    document_vectors: torch.Tensor,
    document_real: torch.Tensor,
) -> torch.Tensor:
    """[q, p]: the mean over a query's tokens of the best inner product with a document's.

    No padding takes part in a maximum, so a negative maximum stays negative; the reference of
    BGE-M3 lets padded tokens win with 0. A text without a vector scores 0.

    Args:
        query_vectors: [q, n, d].
        query_real: [q, n] bool: where a text has a vector.
        document_vectors: [p, m, d].
        document_real: [p, m] bool.
    """
    places = torch.arange(1, document_real.shape[1] + 1, device=document_real.device)
    ends = (document_real * places).amax(1)  # [p] behind each document's last vector
    order = ends.argsort(stable=True)
    columns = []
    # Documents of about one length together: the others' padding costs nothing.
    for block in order.split(DOCUMENTS_AT_ONCE):
        width = int(ends[block].max())
        vectors, real = document_vectors[block, :width], document_real[block, :width]
        columns.append(_maxsim(query_vectors, query_real, vectors, real))
    return torch.cat(columns, dim=1)[:, order.argsort()]


def _maxsim(
    query_vectors: torch.Tensor,
    query_real: torch.Tensor,
    document_vectors: torch.Tensor,
    document_real: torch.Tensor,
) -> torch.Tensor:
    """The same for documents that are few, or of about one length."""
    if document_vectors.shape[1] == 0:  # none of them has a vector
        return query_vectors.new_zeros(len(query_vectors), len(document_vectors))
    each_document = torch.arange(len(document_vectors), device=document_vectors.device)
    numbers = query_vectors.shape[1] * document_vectors.shape[0] * document_vectors.shape[1]
    at_once = max(1, PRODUCTS_AT_ONCE // max(1, numbers))
    rows = []
    for vectors, real in zip(query_vectors.split(at_once), query_real.split(at_once), strict=True):
        # Which token is best needs no gradient: it goes through the products of the best alone.
        with torch.no_grad():
            products = torch.einsum("qid,pjd->qpij", vectors, document_vectors)
            best = products.masked_fill(~document_real[None, :, None], -torch.inf).argmax(-1)
        matched = document_vectors[each_document[None, :, None], best]  # [q, p, n, d]
        best = torch.einsum("qid,qpid->qpi", vectors, matched)
        counted = real[:, None] & document_real.any(1)[None, :, None]
        best = torch.where(counted, best, torch.zeros_like(best))  # [q, p, n]
        rows.append(best.sum(-1) / real.sum(1).clamp_min(1)[:, None])
    return torch.cat(rows)


def shared_vectors(
    query_terms: torch.Tensor,
    query_vectors: torch.Tensor,
    document_terms: torch.Tensor,
    document_vectors: torch.Tensor,
) -> torch.Tensor:
    """[q, p]: sums over shared terms of the inner products of their vectors.

    Args:
        query_terms: [q, n] int64, distinct within a text.
        query_vectors: [q, n, d].
        document_terms: [p, m] int64, likewise.
        document_vectors: [p, m, d].
    """
    columns = query_terms.unique()
    queries = _vectors_by_column(columns, query_terms, query_vectors)
    return (
        queries.flatten(1)
        @ _vectors_by_column(columns, document_terms, document_vectors).flatten(1).T
    )


def _vectors_by_column(
    columns: torch.Tensor, terms: torch.Tensor, vectors: torch.Tensor
) -> torch.Tensor:
    """[n, columns, d]: the vectors of each text for each of the terms, which are in order."""
    places = torch.searchsorted(columns, terms).clamp_max(len(columns) - 1)  # [n, m]
    vectors = vectors.masked_fill((columns[places] != terms)[..., None], 0)
    nothing = vectors.new_zeros(len(terms), len(columns), vectors.shape[2])
    return nothing.scatter_add(1, places[..., None].expand_as(vectors), vectors)


def padded_to(tensor: torch.Tensor, length: int) -> torch.Tensor:
    """[n, length, ...] from [n, m, ...] with m <= length: zeros, or False, behind what there is."""
    if tensor.shape[1] == length:
        return tensor
    after = [0, 0] * (tensor.dim() - 2) + [0, length - tensor.shape[1]]
    return torch.nn.functional.pad(tensor, after)


def concatenated(parts: list[Embedded]) -> Embedded:
    """The texts of all parts one after the other, padded to the longest."""

    def one(tensors: list[torch.Tensor]) -> torch.Tensor:
        if tensors[0].dim() == 1:
            return torch.cat(tensors)
        longest = max(tensor.shape[1] for tensor in tensors)
        return torch.cat([padded_to(tensor, longest) for tensor in tensors])

    return {name: one([part[name] for part in parts]) for name in parts[0]}
