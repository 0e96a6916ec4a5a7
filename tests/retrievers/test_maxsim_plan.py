"""The batches of `maxsim`: every pair once, tokens where they belong, memory within the bound."""

import numpy as np
import pytest

from m3eval.retrievers.maxsim_plan import batches

DIMENSIONS = 8


@pytest.mark.parametrize("queries", [64, 2, 1])
@pytest.mark.parametrize("numbers", [16_000_000, 600, 1])
def test_every_pair_is_in_one_batch_with_the_tokens_of_its_query(numbers, queries):
    rng = np.random.default_rng(0)
    query_lengths, document_lengths = rng.integers(0, 9, 12), rng.integers(0, 40, 30)
    pairs = rng.permutation(np.argwhere(rng.random((12, 30)) < 0.4))
    first_token = np.cumsum(query_lengths) - query_lengths
    seen = []
    for batch in batches(query_lengths, document_lengths, pairs, DIMENSIONS, numbers, queries):
        groups, longest = len(batch.documents), document_lengths[batch.documents].max()
        held = groups * ((longest + batch.width) * DIMENSIONS + longest * batch.width)
        assert held <= numbers or groups == 1
        assert len(np.unique(batch.places)) == len(batch.places) == len(batch.tokens)
        tokens, places = (
            np.split(which, np.cumsum(batch.lengths)[:-1]) for which in (batch.tokens, batch.places)
        )
        in_group = np.zeros(groups, int)
        last_group = 0
        for pair, length, rows, at in zip(batch.pairs, batch.lengths, tokens, places, strict=True):
            query, document = pairs[pair]
            assert length == query_lengths[query]
            assert rows.tolist() == list(range(first_token[query], first_token[query] + length))
            if length:
                (group,) = set((at // batch.width).tolist())  # the matrix of its own document
                assert batch.documents[group] == document and group >= last_group
                in_group[group] += 1
                last_group = group
        assert in_group.max() <= queries
        seen += batch.pairs.tolist()
    with_vectors = np.flatnonzero(document_lengths[pairs[:, 1]] > 0)
    assert sorted(seen) == with_vectors.tolist()


def test_groups_of_a_batch_are_alike():
    """So little is padded: widths are powers of two, and documents come by length."""
    query_lengths, document_lengths = np.array([3, 17]), np.array([5, 50, 6, 51])
    pairs = np.array([[0, 0], [1, 1], [0, 2], [1, 3]])
    found = list(batches(query_lengths, document_lengths, pairs, DIMENSIONS, 10**6, 64))
    assert [(batch.width, batch.documents.tolist()) for batch in found] == [
        (32, [3, 1]),
        (4, [2, 0]),
    ]


def test_no_pairs_no_batches():
    lengths, none = np.array([4]), np.empty((0, 2), np.int64)
    assert not list(batches(lengths, lengths, none, DIMENSIONS, 100, 64))
    assert not list(batches(lengths, np.array([0]), np.array([[0, 0]]), DIMENSIONS, 100, 64))
