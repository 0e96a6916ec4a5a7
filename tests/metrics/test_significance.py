"""Paired statistics against brute force, scipy's own tests and values computed by hand."""

import itertools
import math

import numpy as np
import pytest
import pytrec_eval
from scipy import stats

from m3eval.metrics import significance as sig

RNG = np.random.default_rng(5)


def brute_force(differences):
    """Two-sided p over all sign patterns of mean-of-language-means, by its definition."""
    every = np.concatenate(differences)
    cuts = np.cumsum([len(d) for d in differences])[:-1]

    def statistic(flat):
        return np.mean([part.mean() for part in np.split(flat, cuts)])

    observed = abs(statistic(every))
    signs = itertools.product((1, -1), repeat=len(every))
    return np.mean(
        [abs(statistic(every * np.array(pattern))) >= observed - 1e-12 for pattern in signs]
    )


@pytest.mark.parametrize("sizes", [[9], [4, 7], [3, 1, 6]])
def test_exact_p_is_the_share_of_all_sign_patterns(sizes):
    differences = [RNG.normal(0.4, 1, n).round(1) for n in sizes]
    assert sig.permutation_test(differences, 10_000, seed=0) == pytest.approx(
        brute_force(differences)
    )


def test_languages_weigh_alike():
    """A language with few queries counts as much as one with many; a pooled test would differ."""
    small, large = np.array([-1.0, -1.0]), np.full(10, 0.3)
    p = sig.permutation_test([small, large], 10_000, 0)
    assert p == pytest.approx(brute_force([small, large]))
    pooled = sig.permutation_test([np.concatenate([small, large])], 10_000, 0)
    assert abs(p - pooled) > 0.05
    assert sig.paired([small, large]).difference == pytest.approx((-1 + 0.3) / 2)


def test_resampled_p_is_near_the_exact_one_and_repeats():
    differences = [RNG.normal(0.35, 1, 14)]
    exact = brute_force(differences)
    resampled = sig.permutation_test(differences, 4_000, seed=1)
    assert (
        resampled
        == sig.permutation_test(differences, 4_000, seed=1)
        != sig.permutation_test(differences, 4_000, seed=2)
    )
    assert resampled == pytest.approx(exact, abs=4 * math.sqrt(exact / 4_000))
    # Never 0.
    assert sig.permutation_test([np.full(100, 0.5)], 4_000, 0) == pytest.approx(2 / 4_001)


@pytest.mark.parametrize("n", [5, 12, 70, 400])
def test_p_is_scipys(n):
    """The same tails; exactly where all patterns are tried, else as near as chance lets it."""
    d = np.concatenate([RNG.normal(0.1, 1, n - 3), [0.25, -0.25, 0.25]]).round(2)
    found, resamples = sig.permutation_test([d], 5_000, seed=3), 5_000
    other = stats.permutation_test(
        (d,),
        lambda flipped, axis: flipped.sum(axis=axis).round(9),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(0),
    ).pvalue
    away = 0 if 2**n <= resamples else 6 * math.sqrt(2 * other / resamples)
    assert found == pytest.approx(other, abs=away + 1e-12)


def test_patterns_are_fair_and_the_same_whatever_the_blocks(monkeypatch):
    whole = np.concatenate([*sig._patterns(70, 3_000, np.random.default_rng(0))])
    monkeypatch.setattr(sig, "VALUES_AT_ONCE", 700)
    blocks = [*sig._patterns(70, 3_000, np.random.default_rng(0))]
    assert max(map(len, blocks)) == 10
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert whole.shape == (3_000, 70) and set(np.unique(whole)) == {0, 1}
    # Of each sign and each pair of neighbours: within five standard deviations of chance.
    assert np.abs(whole.mean(0) - 0.5).max() < 2.5 / math.sqrt(3_000)
    assert np.abs((whole[:, 1:] == whole[:, :-1]).mean(0) - 0.5).max() < 2.5 / math.sqrt(3_000)


def test_queries_that_tie_change_no_p():
    differences = RNG.normal(0.4, 1, 10)
    padded = np.concatenate([differences, np.zeros(500)])
    assert sig.permutation_test([padded], 2_000, 0) == pytest.approx(brute_force([differences]))
    assert sig.permutation_test([np.zeros(5)], 2_000, 0) == 1
    assert (
        sig.permutation_test([np.array([0.0, 0.3])], 2_000, 0)
        == brute_force([np.array([0.0, 0.3])])
        == 1
    )


def test_t_is_scipys_for_one_language_and_welchs_for_two():
    a, b = RNG.normal(0.3, 1, 12), RNG.normal(0.1, 2, 7)
    assert sig.t_test([a]) == pytest.approx(stats.ttest_1samp(a, 0).pvalue)
    assert sig.t_test([a, b]) == pytest.approx(stats.ttest_ind(a, -b, equal_var=False).pvalue)
    assert sig.t_test([np.zeros(4), np.zeros(3)]) == 1
    assert math.isnan(sig.t_test([a, np.array([1.0])])) and math.isnan(sig.t_test([np.ones(4)]))


def test_interval_is_the_bootstraps():
    d = RNG.normal(0.2, 1, 40)
    low, high = sig.interval([d], 0.9, 4_000, 0)
    rng = np.random.default_rng(1)
    means = [rng.choice(d, len(d)).mean() for _ in range(4_000)]
    assert (low, high) == pytest.approx(np.quantile(means, [0.05, 0.95]), abs=0.03)
    # A language that does not vary adds its mean and nothing else.
    both = [d, np.full(9, 1.0)]
    assert sig.interval(both, 0.9, 4_000, 0) == pytest.approx(((low + 1) / 2, (high + 1) / 2))
    assert all(map(math.isnan, sig.interval([np.array([1.0])], 0.95, 1_000, 0)))


def test_effect_size_by_hand():
    assert sig.effect_size([np.array([1.0, 2.0, 3.0])]) == pytest.approx(2.0)
    # Mean 1, variance (2 + 0) / 2.
    assert sig.effect_size([np.array([0.0, 2.0]), np.array([1.0, 1.0])]) == pytest.approx(1.0)
    assert sig.effect_size([np.zeros(3)]) == 0 and sig.effect_size([np.ones(3)]) is None


# Equal but for rounding: the same scores, subtracted from and added in several ways.
THIRDS = np.array([1 / 3, 1 - 2 / 3, 0.1 + 0.7 / 3])


@pytest.mark.parametrize("differences", [[THIRDS], [THIRDS, THIRDS * 2], [-THIRDS]])
def test_rounding_is_no_variance(differences):
    """Three equal differences gave p = 4.6e-33 and d = 8.5e15."""
    assert any(np.ptp(d) > 0 for d in differences)
    found = sig.paired(differences, test="t", resamples=1_000)
    assert math.isnan(found.p) and found.effect is None
    assert math.isnan(found.low) and math.isnan(found.high)
    assert found.remark == "differences do not vary"
    # Signs may be flipped all the same, and patterns that tie are counted as such.
    p = sig.permutation_test(differences, 10_000, 0)
    assert p == pytest.approx(brute_force(differences))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_small_differences_that_vary_are_tested(scale):
    d = RNG.normal(0.4, 1, 9) * scale
    found = sig.paired([d], test="t", resamples=1_000)
    assert found.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert found.effect == pytest.approx(d.mean() / d.std(ddof=1)) and found.remark is None
    assert sig.permutation_test([d], 1_000, 0) == pytest.approx(brute_force([d / scale]))


def test_sums_that_tie_are_told_apart_by_no_rounding():
    """These add up to nothing, so every sign pattern is as far from 0; bits alone said p = 0.81."""
    d = np.array([-0.2, 0.7 - 0.6, -0.2, 0.1, 0.1, 0.7 - 0.6])
    assert abs(d.sum()) < 1e-15
    assert sig.permutation_test([d], 1_000, 0) == brute_force([d]) == 1


@pytest.mark.parametrize(
    ("differences", "p", "effect", "interval", "remark"),
    [
        ([[0.25]], math.nan, None, math.nan, "a language has a single query"),
        ([[0.0]], 1.0, 0.0, math.nan, "a language has a single query"),
        ([[0.25, 0.25]], math.nan, None, math.nan, "differences do not vary"),
        ([[0.0, 0.0]], 1.0, 0.0, 0.0, None),
        ([[1e-12, 0.0], [0.0, -1e-15]], 1.0, 0.0, 0.0, None),
    ],
)
def test_few_queries_and_none_that_differ(differences, p, effect, interval, remark):
    found = sig.paired([np.array(d) for d in differences], test="t", resamples=1_000)
    assert found.p == pytest.approx(p, nan_ok=True) and found.effect == effect
    assert [found.low, found.high] == pytest.approx([interval] * 2, nan_ok=True)
    assert found.remark == remark


def test_two_queries():
    found = sig.paired([np.array([0.25, 0.5])], test="t", resamples=1_000)
    assert found.p == pytest.approx(stats.ttest_1samp([0.25, 0.5], 0).pvalue)
    assert found.remark is None
    assert sig.permutation_test([np.array([0.25, 0.5])], 1_000, 0) == pytest.approx(0.5)


def test_wins_ties_losses():
    found = sig.paired([np.array([0.1, 1e-13, -0.2]), np.array([0.3])], resamples=1_000)
    assert (found.queries, found.wins, found.ties, found.losses) == (4, 2, 1, 1)


def test_holm_by_hand():
    # Sorted 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, each at least the one before.
    assert sig.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert sig.holm([0.6, 0.5]) == [1.0, 1.0] and sig.holm([]) == []
    with_nan = sig.holm([0.01, math.nan, 0.03])
    assert (
        with_nan[0] == pytest.approx(0.02)
        and math.isnan(with_nan[1])
        and with_nan[2] == pytest.approx(0.03)
    )


def test_holm_rejects_what_its_definition_rejects():
    """Step down: while the k-th smallest of m is below alpha / (m - k + 1), reject."""
    for _ in range(50):
        p = RNG.uniform(0, 0.06, 7)
        rejected = set()
        for k, i in enumerate(np.argsort(p)):
            if p[i] >= 0.05 / (7 - k):
                break
            rejected.add(int(i))
        assert {i for i, adjusted in enumerate(sig.holm(p)) if adjusted < 0.05} == rejected


def test_differences_need_the_same_queries():
    np.testing.assert_allclose(
        sig.paired_differences({"a": 1.0, "b": 0.5}, {"b": 0.25, "a": 0.0}), [1, 0.25]
    )
    with pytest.raises(ValueError):
        sig.paired_differences({"a": 1.0}, {"b": 1.0})


def trec_eval_lists(path):
    run = {}
    for line in path.read_text().splitlines():
        qid, _, docid, _, score, *_ = line.split()
        run.setdefault(qid, {})[docid] = float(score)
    return run


@pytest.mark.parametrize(
    ("qrels", "one", "other"),
    [
        ("qrels.test", "results.test", "results.trunc"),
        ("qrels.cacm.txt", "cacm-bm25.txt", "first dropped"),
    ],
)
def test_on_trec_evals_files(shared, qrels, one, other):
    """A second path: pytrec_eval's per-query values, every sign pattern or scipy's functions."""
    from m3eval.benchmarks.qrels import read_qrels
    from m3eval.metrics.names import parse
    from m3eval.metrics.ranking import by_documents
    from m3eval.retrievers.run import ranked

    folder = shared / "trec_eval_tests"
    judged = read_qrels(folder / qrels)
    first = trec_eval_lists(folder / one)
    second = (
        trec_eval_lists(folder / other)
        if (folder / other).exists()
        else {
            qid: dict(sorted(docs.items(), key=lambda kv: -kv[1])[1:])
            for qid, docs in first.items()
        }
    )
    ours = []
    for lists in (first, second):
        run = {
            qid: ranked(list(docs), np.array([*docs.values()]), len(docs))
            for qid, docs in lists.items()
        }
        ours.append(by_documents(run, judged, [parse("nDCG@10")])["nDCG@10"])
    d = sig.paired_differences(*ours)
    values = [
        pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(lists)
        for lists in (first, second)
    ]
    one_by_one = [
        [found.get(qid, {"ndcg_cut_10": 0.0})["ndcg_cut_10"] for qid in judged] for found in values
    ]
    # Our runs hold scores as float32.
    np.testing.assert_allclose(d, np.subtract(*one_by_one), atol=1e-6)

    assert len(d) == len(judged) >= 3
    moved = d[d != 0]
    if len(moved) <= 14:
        assert sig.permutation_test([d], 20_000, 0) == pytest.approx(
            brute_force([moved]) if len(moved) else 1
        )
    else:
        rng = np.random.default_rng(7)
        flips = rng.choice([-1, 1], (20_000, len(d)))
        p = np.mean(np.abs(flips @ d) >= abs(d.sum()) - 1e-12)
        assert sig.permutation_test([d], 20_000, 0) == pytest.approx(
            p, abs=4 * math.sqrt(max(p, 1e-4) / 20_000) + 1e-3
        )
    expected = stats.ttest_rel(*one_by_one)
    if d.any():
        assert sig.t_test([d]) == pytest.approx(expected.pvalue, rel=1e-4)
        assert sig.effect_size([d]) == pytest.approx(
            expected.statistic / math.sqrt(len(d)), rel=1e-4
        )
