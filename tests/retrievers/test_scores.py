"""The maths of scores against brute force, and against the true BGE-M3's published outputs."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from m3eval.errors import UserError
from m3eval.retrievers import scores


def csr(rows, vocabulary=50_000):
    lengths = [len(row) for row in rows]
    tokens = [token for row in rows for token in row]
    weights = np.array([weight for row in rows for weight in row.values()], np.float32)
    return scipy.sparse.csr_array(
        (weights, tokens, np.concatenate([[0], np.cumsum(lengths)])), shape=(len(rows), vocabulary)
    )


def test_dense_accumulates_in_float32():
    q, p = (np.random.default_rng(i).normal(size=(4, 1024)).astype(np.float16) for i in (0, 1))
    found = scores.dense(q, p)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, q.astype(float) @ p.astype(float).T, atol=1e-4)


def test_lexical_sums_over_shared_tokens():
    queries = [{1: 0.5, 7: 2.0}, {3: 1.0}, {}]
    documents = [{1: 4.0, 2: 9.0}, {7: 1.0, 1: 1.0}, {2: 1.0}]
    expected = [[2.0, 2.5, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(
        scores.lexical(csr(queries), csr(documents).T.tocsr()).toarray(), expected
    )
    np.testing.assert_array_equal(scores.lexical_pairs(csr(queries), csr(documents)), [2.0, 0, 0])


def test_weighted_sum_normalises_nothing():
    parts = {
        "dense": np.array([0.5, 1.0]),
        "sparse": np.array([0.1, 0.0]),
        "unused": np.array([9.0, 9.0]),
    }
    np.testing.assert_allclose(
        scores.weighted_sum(parts, {"dense": 1.0, "sparse": 0.3}), [0.53, 1.0], rtol=1e-6
    )


def test_readme_example_of_flagembedding(shared):
    """The weighted sums of four pairs that BGE-M3's README prints, and a lexical score."""
    gold = json.loads((shared / "bge_m3_gold" / "gold.json").read_text())["flagembedding_readme"]
    parts = {name: np.array(gold[name]) for name in ("dense", "sparse", "colbert")}
    weights = dict(
        zip(("dense", "sparse", "colbert"), gold["weights_dense_sparse_colbert"], strict=True)
    )
    np.testing.assert_allclose(
        scores.weighted_sum(parts, weights) / sum(weights.values()),
        gold["colbert+sparse+dense"],
        atol=1e-6,
    )
    two = {name: weights[name] for name in ("dense", "sparse")}
    np.testing.assert_allclose(
        scores.weighted_sum(parts, two) / sum(two.values()), gold["sparse+dense"], atol=1e-4
    )


def test_true_lexical_weights_give_the_published_scores(shared):
    gold = json.loads((shared / "bge_m3_gold" / "gold.json").read_text())
    rows = [
        {int(token): weight for token, weight in row.items()}
        for row in gold["flagembedding_fp32_lexical"]["lexical_weights"]
    ]
    matrix = csr(rows, 250_002)
    found = scores.lexical(matrix, matrix.T.tocsr()).toarray()
    assert found[0, 1] == pytest.approx(
        gold["flagembedding_readme"]["lexical_matching_0_0"], abs=1e-4
    )
    for i, one in enumerate(rows):
        for j, two in enumerate(rows):
            assert found[i, j] == pytest.approx(
                sum(one[t] * two[t] for t in one.keys() & two.keys()), abs=1e-5
            )
    # As a store keeps them.
    stored = csr([{t: float(np.float16(w)) for t, w in row.items()} for row in rows], 250_002)
    assert scores.lexical(stored, stored.T.tocsr())[0, 1] == pytest.approx(0.19555, abs=1e-4)


def test_fused_scores_of_the_true_model(shared):
    """19,000 pairs of JQaRA: 0.4 dense + 0.2 sparse + 0.4 multi-vector, as the authors sum them."""
    frame = pd.read_csv(shared / "jqara_bge_m3_scores" / "scores.sample.tsv.gz", sep="\t")
    parts = {name: frame[name].to_numpy() for name in ("dense", "sparse", "colbert")}
    found = scores.weighted_sum(parts, {"dense": 0.4, "sparse": 0.2, "colbert": 0.4})
    assert len(found) == 19_000
    np.testing.assert_allclose(found, frame["all_0.4_0.2_0.4"], atol=1e-6)


def test_quantisation_rounds_up():
    weights = np.array([0.13, 0.07, 0.25, 0.001, 0.2501, 2.0], np.float16).astype(np.float32)
    assert scores.quantise(weights, "ceil100").tolist() == [
        np.ceil(float(w) * 100) for w in weights
    ]
    # float16(0.13) is 0.130005: its ceiling is 14, but its product with 100 rounds to 13 in float16
    # (M3 paper's scripts).
    assert (
        scores.quantise(weights, "ceil100")[0] == 14
        and scores.quantise(weights, "ceil100_fp16")[0] == 13
    )
    assert scores.quantise(weights, "ceil100_fp16").tolist() == [
        int(np.ceil(w * 100)) for w in weights.astype(np.float16)
    ]
    assert scores.quantise(weights, "none").tolist() == weights.tolist()


def test_float16_ceilings_differ_for_the_known_share():
    """0.6 % of the float16 values between 0.001 and 1 lose one to the rounding of the product."""
    values = np.arange(0x0001, 0x3C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = values[values > 0.001]
    lost = scores.quantise(values, "ceil100") - scores.quantise(values, "ceil100_fp16")
    assert set(lost.tolist()) == {0.0, 1.0} and 0.005 < lost.mean() < 0.007


def test_quantisation_beyond_float16_is_refused():
    with pytest.raises(UserError, match=r"100 x the weight 700 is beyond float16: use ceil100"):
        scores.quantise(np.array([1.0, 700.0]), "ceil100_fp16")


def test_best_window_by_brute_force():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 5, 40)
    queries, windows = (rng.normal(size=(n, 8)).astype(np.float32) for n in (7, counts.sum()))
    found = scores.best_window(*map(torch.from_numpy, (queries, windows, counts))).numpy()
    for document, vectors in enumerate(np.split(windows, np.cumsum(counts)[:-1])):
        np.testing.assert_allclose(
            found[:, document], (queries.astype(float) @ vectors.T.astype(float)).max(1), atol=1e-5
        )
