"""What chance scores: the formulas against random orders, judged by trec_eval's code."""

import numpy as np
import pytest

from m3eval.metrics.chance import by_chance
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import by_documents
from m3eval.retrievers.run import Ranking

METRICS = ["nDCG@10", "nDCG", "R@5", "P@5", "P@50", "AP", "AP@10", "RR", "RR@10", "Success@5"]
QRELS = {
    "one": {"d3": 1},
    "several": {"d1": 1, "d5": 1, "d7": 1, "d9": 0},
    "graded": {"d0": 3, "d2": 1, "d4": 2},
    "none": {"d0": 0},
}
N, ORDERS = 20, 4000


def test_expectations_are_means_of_random_orders():
    metrics = [parse(name) for name in METRICS]
    rng = np.random.default_rng(0)
    docids = [f"d{i}" for i in range(N)]
    qrels, run = {}, {}
    for name, grades in QRELS.items():
        for i in range(ORDERS):
            order = [docids[j] for j in rng.permutation(N)]
            run[f"{name}-{i}"] = Ranking(order, np.arange(N, 0, -1, dtype=np.float32))
            qrels[f"{name}-{i}"] = grades
    simulated = by_documents(run, qrels, metrics)
    expected = by_chance(QRELS, N, metrics)
    for metric in METRICS:
        for name in QRELS:
            scores = [simulated[metric][f"{name}-{i}"] for i in range(ORDERS)]
            error = 4 * np.std(scores) / np.sqrt(ORDERS) + 1e-9
            assert expected[metric][name] == pytest.approx(np.mean(scores), abs=error), metric


def test_by_hand():
    expected = by_chance({"q": {"d": 1}}, 4, [parse("R@1"), parse("RR"), parse("Success@2")])
    assert expected["R@1"]["q"] == 0.25
    assert expected["RR"]["q"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert expected["Success@2"]["q"] == 0.5
    # Deeper than the corpus: everything is found.
    assert by_chance({"q": {"d": 1}}, 4, [parse("R@100")])["R@100"]["q"] == 1.0
