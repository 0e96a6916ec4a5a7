"""The differentiable scores are those of `retrievers/scores.py`, padded or not."""

import numpy as np
import pytest
import scipy.sparse
import torch

from m3eval.encoders.representations import Packed
from m3eval.retrievers import late_interaction
from m3eval.retrievers import scores as maths
from m3eval.training import similarity

# Vectors of each text; one of either side has none.
QUERIES, DOCUMENTS = [3, 1, 5, 0], [4, 7, 2, 0, 5]
WIDTH, VOCABULARY = 6, 40


def texts(lengths, seed, shift=0.0):
    """Padded vectors [n, longest, d], numbers that must not count, and where they are real."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(lengths), max(lengths), WIDTH, generator=generator) + shift
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return vectors.masked_fill(~real[..., None], 9.0), real


def packed(vectors, real):
    return Packed(vectors[real], real.sum(1).numpy())


ALL_PAIRS = np.array([(q, p) for q in range(len(QUERIES)) for p in range(len(DOCUMENTS))])


@pytest.mark.parametrize("at_once", [1, 60, 16_000_000])
@pytest.mark.parametrize("documents_at_once", [1, 2, 8])
def test_maxsim_is_that_of_retrievers(monkeypatch, at_once, documents_at_once):
    """In one go, and a query at a time; also where every product is negative."""
    monkeypatch.setattr(similarity, "PRODUCTS_AT_ONCE", at_once)
    monkeypatch.setattr(similarity, "DOCUMENTS_AT_ONCE", documents_at_once)
    for shift in (0.0, 3.0):
        queries, documents = texts(QUERIES, 0, shift), texts(DOCUMENTS, 1, -shift)
        expected = late_interaction.maxsim(packed(*queries), packed(*documents), ALL_PAIRS)
        found = similarity.maxsim(*queries, *documents)
        torch.testing.assert_close(found.ravel(), expected, rtol=0, atol=1e-5)
    assert (expected.view(4, 5)[:3, [0, 1, 2, 4]] < -1).all()  # padding of zeros would have won


def test_lexical_is_that_of_retrievers():
    generator = torch.Generator().manual_seed(2)
    sides = []
    for n, length in ((4, 9), (3, 30)):
        terms = torch.randint(VOCABULARY, (n, length), generator=generator)  # terms repeat
        weights = torch.randn(n, length, generator=generator).relu()
        matrix = np.zeros((n, VOCABULARY), np.float32)
        for text, term, weight in zip(
            np.repeat(np.arange(n), length), terms.ravel(), weights.ravel(), strict=True
        ):
            matrix[text, term] = max(matrix[text, term], weight)
        sides.append((terms, weights, scipy.sparse.csr_array(matrix)))
    (q_terms, q_weights, queries), (p_terms, p_weights, documents) = sides
    found = similarity.lexical(q_terms, q_weights, p_terms, p_weights)
    expected = maths.lexical(queries, documents.T.tocsr()).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_lexical_scores_are_as_wide_as_the_queries_terms(monkeypatch):
    """Not as the vocabulary: with ids beyond a million no matrix of a million columns is made."""
    terms = torch.tensor([[5, 1_000_000]])
    weights = torch.ones(1, 2, requires_grad=True)
    made = []
    by_column = similarity._by_column
    monkeypatch.setattr(similarity, "_by_column", lambda *a: made.append(by_column(*a)) or made[-1])
    score = similarity.lexical(terms, weights, terms.flip(1), torch.full((1, 2), 2.0))
    score.sum().backward()
    assert score.item() == 4 and [m.shape[1] for m in made] == [2, 2]
    assert weights.grad.tolist() == [[2, 2]]


def test_parts_of_other_lengths_are_padded_with_what_says_nothing():
    short, long = texts([2, 1], 3), texts([4], 4)
    parts = [
        {"vectors": v, "real": r, "dense": v[:, 0], "terms": r.long()} for v, r in (short, long)
    ]
    whole = similarity.concatenated(parts)
    queries = texts(QUERIES, 0)
    found = similarity.maxsim(*queries, whole["vectors"], whole["real"])
    expected = [similarity.maxsim(*queries, *side) for side in (short, long)]
    torch.testing.assert_close(found, torch.cat(expected, dim=1))
    assert whole["dense"].shape == (3, WIDTH) and whole["terms"].shape == (3, 4)
