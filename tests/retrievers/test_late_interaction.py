"""The maths of MaxSim against brute force, whatever bounds its memory."""

import numpy as np
import pytest
import torch

from m3eval.encoders.representations import Packed, Separate
from m3eval.retrievers import late_interaction

# How MaxSim is computed: what bounds its memory, and where the documents' vectors lie.
WAYS = [
    (
        late_interaction.maxsim_in_batches,
        {"NUMBERS_AT_ONCE": numbers, "QUERIES_AT_ONCE": queries},
        Packed.of,
    )
    for numbers in (16_000_000, 500, 1)
    for queries in (64, 2, 1)
] + [
    (
        late_interaction.maxsim_by_document,
        {"VECTORS_AT_ONCE": most, "DOCUMENTS_AT_ONCE": turn},
        kind,
    )
    for most in (512, 6, 1)
    for turn in (16, 2, 1)
    for kind in (Packed.of, Separate)
]


@pytest.mark.parametrize(("maxsim", "bounds", "kind"), WAYS)
def test_maxsim_is_the_mean_of_maxima(maxsim, bounds, kind, monkeypatch):
    for name, value in bounds.items():
        monkeypatch.setattr(late_interaction, name, value)
    rng = np.random.default_rng(0)
    queries = [rng.normal(size=(n, 16)).astype(np.float16) for n in (3, 1, 7)]
    documents = [rng.normal(size=(n, 16)).astype(np.float16) for n in (5, 1, 40, 12)]
    pairs = np.array([(q, p) for p in (2, 0, 3, 1) for q in (1, 2, 0)] + [(2, 2)])
    expected = [
        np.mean(
            [
                max(float(q @ p) for p in documents[j].astype(float))
                for q in queries[i].astype(float)
            ]
        )
        for i, j in pairs
    ]
    found = maxsim(Packed.of(queries), kind(documents), pairs)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("bound", [16_000_000, 500, 1])
@pytest.mark.parametrize(
    "of_all", [late_interaction.maxsim_of_all_in_blocks, late_interaction.maxsim_of_all_by_document]
)
def test_maxsim_of_all_is_maxsim_of_every_pair(of_all, bound, monkeypatch):
    for name in ("NUMBERS_AT_ONCE", "VECTORS_AT_ONCE", "DOCUMENTS_AT_ONCE"):
        monkeypatch.setattr(late_interaction, name, min(bound, getattr(late_interaction, name)))
    rng = np.random.default_rng(0)
    queries, documents = (
        [rng.normal(size=(n, 16)).astype(np.float16) - 1 for n in lengths]
        for lengths in ((3, 0, 1, 7), (0, 5, 1, 0, 40, 12, 0))
    )
    expected = [
        [
            np.mean((q.astype(float) @ p.astype(float).T).max(1)) if len(q) and len(p) else 0
            for p in documents
        ]
        for q in queries
    ]
    found = of_all(Packed.of(queries), Packed.of(documents))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    none = Packed.of([np.empty((0, 16), np.float16)] * 2)
    assert of_all(none, Packed.of(documents)).tolist() == [[0.0] * 7] * 2
    assert of_all(Packed.of(queries), none).tolist() == [[0.0] * 2] * 4


def test_best_matches_are_what_maxsim_is_the_mean_of():
    rng = np.random.default_rng(0)
    queries = [rng.normal(size=(n, 16)).astype(np.float16) for n in (3, 1, 7)]
    documents = [rng.normal(size=(n, 16)).astype(np.float16) for n in (5, 1, 40, 0)]
    pairs = np.argwhere(np.ones((3, 4)))
    found = late_interaction.best_matches(Packed.of(queries), Packed.of(documents), pairs).numpy()
    for (q, p), matches in zip(pairs, found, strict=True):
        n = len(queries[q])
        assert not matches[n:].any()
        for vector, (place, product) in zip(queries[q].astype(float), matches, strict=False):
            products = [float(vector @ other) for other in documents[p].astype(float)] or [0.0]
            assert (int(place), product) == (
                int(np.argmax(products)),
                pytest.approx(max(products), abs=1e-4),
            )
    means = [
        matches[: len(queries[q]), 1].mean() for (q, _), matches in zip(pairs, found, strict=True)
    ]
    np.testing.assert_allclose(
        late_interaction.maxsim(Packed.of(queries), Packed.of(documents), pairs), means, atol=1e-5
    )


@pytest.mark.parametrize(
    "maxsim", [late_interaction.maxsim_in_batches, late_interaction.maxsim_by_document]
)
def test_maxsim_keeps_negative_maxima_and_scores_nothing_as_zero(maxsim):
    one, two, none = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.1]]), np.empty((0, 2))
    queries, documents = Packed.of([one, none, two]), Packed.of([-one, one, none, -two])
    pairs = np.argwhere(np.ones((3, 4)))
    found = maxsim(queries, documents, pairs).reshape(3, 4)
    # padding, of a document or of a query, would have made the negative ones 0 or nearer to it
    np.testing.assert_allclose(found, [[-1, 1, 0, -1], [0, 0, 0, 0], [-1, 1, 0, -1]])
    assert maxsim(queries, documents, np.empty((0, 2), int)).shape == (0,)
    assert maxsim(Packed.of([none]), documents, np.array([[0, 0]])).tolist() == [0]


def test_maxsim_has_the_same_bytes_for_any_threads_and_chunks():
    rng = np.random.default_rng(3)
    queries = Packed.of([rng.normal(size=(n, 96)).astype(np.float16) for n in (3, 30, 7, 12)])
    documents = [
        rng.normal(size=(n, 96)).astype(np.float16) for n in rng.integers(0, 200, 70).tolist()
    ]
    pairs = np.argwhere(rng.random((4, 70)) < 0.6)  # sorted by query, not by document
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(
                late_interaction.maxsim(queries, Packed.of(documents), pairs).numpy().tobytes()
            )
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    chunked = np.zeros(len(pairs), np.float32)
    for low in range(0, 70, 9):
        part = np.flatnonzero((pairs[:, 1] >= low) & (pairs[:, 1] < low + 9))
        few = Separate(documents[low : low + 9])
        chunked[part] = late_interaction.maxsim(queries, few, pairs[part] - [0, low])
    assert set(found) == {chunked.tobytes()}
