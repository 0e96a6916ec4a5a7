"""What lists are like, by hand."""

import math

import numpy as np
import pytest

from m3eval.metrics import analysis
from m3eval.retrievers.run import Ranking


def lists(**found):
    return {
        qid: Ranking(docids.split(), -np.arange(len(docids.split()), dtype=np.float32))
        for qid, docids in found.items()
    }


def test_overlap_and_jaccard():
    assert analysis.overlap("abcd", "cdxy") == 0.5 and analysis.jaccard("abcd", "cdxy") == 2 / 6
    assert (
        analysis.overlap("ab", "abcd") == 0.5
        and analysis.overlap("", "") == analysis.jaccard("", "") == 1
    )
    assert analysis.overlap("", "a") == analysis.jaccard("a", "") == 0


def test_mean_overlaps_cut_at_10_and_100():
    one, other = (
        " ".join(f"d{i}" for i in numbers)
        for numbers in (range(200), [*range(5), *range(100, 200)])
    )
    ten, hundred = analysis.mean_overlaps(lists(q=one), lists(q=other), ["q"])
    assert ten == 0.5 and hundred == pytest.approx(5 / 195)
    # Only one of them found something.
    ten, hundred = analysis.mean_overlaps(lists(q=one, only="a"), lists(q=other), ["q", "only"])
    assert ten == 0.25 and hundred == pytest.approx(5 / 195 / 2)


def test_unjudged():
    qrels = {"1": {"a": 1, "b": 0}, "2": {"z": 1}, "3": {"a": 1}}
    run = lists(**{"1": "a b c d", "2": "x y", "unjudged": "a"})
    # Grade 0 is judged; 3 found nothing.
    assert analysis.unjudged(run, qrels) == pytest.approx((2 / 4 + 2 / 2) / 2)
    assert analysis.unjudged(run, qrels, depth=2) == pytest.approx((0 + 1) / 2)
    assert math.isnan(analysis.unjudged({}, qrels))


def test_scores_at():
    np.testing.assert_array_equal(analysis.scores_at(lists(p="a b", q="a"), 2), [-1])


def test_thirds():
    lengths = {"a": 6, "b": 5, "c": 4, "d": 3, "e": 2, "f": 1, "no score": 7}
    scores = {"a": 0.75, "b": 0.25, "c": 0.25, "d": 0.5, "e": 0.0, "f": 0.5, "no length": 9}
    assert analysis.thirds(lengths, scores) == [0.25, 0.375, 0.5]  # f and e, d and c, b and a
    assert analysis.thirds({"a": 1}, {"a": 0.5})[0] == 0.5 and math.isnan(
        analysis.thirds({"a": 1}, {"a": 0.5})[2]
    )
