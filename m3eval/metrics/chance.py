"""What a random order of all documents scores: the floor that every retriever stands on.

Expectations over all orders, by formula; tests simulate them with trec_eval's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores


def by_chance(
    qrels: Mapping[str, Mapping[str, int]], documents: int, metrics: Sequence[Metric]
) -> Scores:
    """The expected score of every judged query.

    Args:
        qrels: qid -> docid -> grade; every judged document is in the corpus.
        documents: how many the corpus has.
        metrics: what to compute.
    """
    return {
        str(metric): {
            qid: _expected(metric, [grade for grade in grades.values() if grade > 0], documents)
            for qid, grades in qrels.items()
        }
        for metric in metrics
    }


def _expected(metric: Metric, gains: Sequence[int], n: int) -> float:
    """The expectation for a query whose relevant documents have these grades."""
    if not gains:
        return 0.0
    if metric.measure == "nDCG":
        discounts = _discounts(n)[: metric.cutoff]
        best = np.sort(gains)[::-1][: metric.cutoff]
        return float(
            np.mean(gains) * len(gains) / n * discounts.sum() / (best @ discounts[: len(best)])
        )
    return _of_sets(metric, len(gains), n)


@lru_cache
def _discounts(n: int) -> np.ndarray:
    """[n] float64, nDCG's discount of each rank."""
    return 1 / np.log2(np.arange(2, n + 2))


@lru_cache
def _of_sets(metric: Metric, relevant: int, n: int) -> float:
    """The expectation of a measure that knows relevant documents, and no grades."""
    ranks = np.arange(1, min(metric.cutoff or n, n) + 1)
    # [ranks] the probability that no relevant document stands above a rank.
    none_above = np.cumprod(np.concatenate([[1.0], _misses(relevant, n)]))
    match metric.measure:
        case "R":
            return len(ranks) / n
        case "P":
            assert metric.cutoff  # `parse` refuses it without
            return relevant / n * len(ranks) / metric.cutoff
        case "Success":
            return float(1 - none_above[len(ranks)])
        case "RR":
            first = none_above[ranks - 1] * (1 - _misses(relevant, n)[ranks - 1])
            return float((first / ranks).sum())
        case "AP":
            # A relevant document at a rank, and how many of the ranks above are expected to be.
            above = (ranks - 1) * (relevant - 1) / max(n - 1, 1)
            return float(((1 + above) / ranks).sum() / n)
    raise AssertionError(metric)


def _misses(relevant: int, n: int) -> np.ndarray:
    """[n] the probability that a rank holds no relevant document where none stands above it."""
    left = np.arange(n, 0, -1)
    return np.maximum(left - relevant, 0) / left
