"""Which pairs of a query and a document MaxSim scores together, and where tokens lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from m3eval.encoders.representations import ragged_range


@dataclass(frozen=True)
class Batch:
    """Pairs that are scored in one step, as g groups.

    A group is one document and some of the queries that it is paired with. The vectors of these
    queries' tokens lie one after the other in a matrix of `width` rows; zeros fill what is left.
    """

    documents: np.ndarray  # [g] number of each group's document
    width: int
    pairs: np.ndarray  # [n] positions of the pairs, group by group
    lengths: np.ndarray  # [n] tokens of each pair's query
    tokens: np.ndarray  # [t] rows of the queries' vectors, pair by pair
    places: np.ndarray  # [t] and the row in the g * width rows of all matrices to which each goes


def batches(
    query_lengths: np.ndarray,
    document_lengths: np.ndarray,
    pairs: np.ndarray,
    dimensions: int,
    numbers: int,
    queries: int,
) -> Iterator[Batch]:
    """Shares pairs out to batches, each pair once; those whose document has no vector are left out.

    Groups of like shapes come together: their widths are powers of two, the same within a batch,
    and documents follow each other by length, so that little is padded.

    Args:
        query_lengths: [q] vectors of each query.
        document_lengths: [p] vectors of each document.
        pairs: [n, 2] int64, numbers of a query and a document.
        dimensions: of a vector.
        numbers: what a batch may hold in vectors and products; a group that needs more is alone.
        queries: how many a group may have.
    """
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))  # by document, then by query
    order = order[document_lengths[pairs[order, 1]] > 0]
    if not len(order):
        return
    query, document = pairs[order].T
    place = np.arange(len(order)) - np.searchsorted(document, document)  # among its document's
    starts = np.flatnonzero(place % queries == 0)  # [groups]
    counts = np.diff(starts, append=len(order))  # [groups]
    sizes = document_lengths[document[starts]]  # [groups]
    tokens = np.add.reduceat(query_lengths[query], starts)  # [groups]
    widths = 2 ** np.ceil(np.log2(np.maximum(tokens, 1))).astype(np.int64)  # [groups]
    first_token = np.cumsum(query_lengths) - query_lengths  # [q]

    waiting = np.lexsort((-sizes, -widths))
    while len(waiting):
        width, longest = int(widths[waiting[0]]), int(sizes[waiting[0]])
        most = max(1, numbers // ((longest + width) * dimensions + longest * width))
        groups = waiting[:most]
        groups = groups[widths[groups] == width]
        waiting = waiting[len(groups) :]
        members = ragged_range(starts[groups], counts[groups])  # [n]
        lengths = query_lengths[query[members]]
        yield Batch(
            documents=document[starts[groups]],
            width=width,
            pairs=order[members],
            lengths=lengths,
            tokens=ragged_range(first_token[query[members]], lengths),
            places=ragged_range(np.arange(len(groups)) * width, tokens[groups]),
        )
