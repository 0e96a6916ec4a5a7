"""Metrics over judged documents, computed by trec_eval's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytrec_eval

from m3eval.metrics.names import TREC_EVAL, Metric
from m3eval.retrievers.run import Run

Scores = dict[str, dict[str, float]]  # metric -> qid -> score in [0, 1]


def by_documents(
    run: Run, qrels: Mapping[str, Mapping[str, int]], metrics: Sequence[Metric]
) -> Scores:
    """Scores of every judged query.

    A judged query that the run lacks scores 0 (trec_eval's -c), so a mean is over all judged
    queries; a query without judgements counts nowhere. Gains are the grades themselves, nDCG's
    discount is log2(rank + 1).
    """
    judged = {qid: dict(grades) for qid, grades in qrels.items()}
    lists = {
        qid: dict(zip(ranking.docids, ranking.scores.tolist(), strict=True))
        for qid, ranking in run.items()
        if qid in judged
    }
    # One pass over the lists for all metrics: to read the lists is most of what it takes.
    names = {_measure(metric) for metric in metrics}
    found = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(lists)
    return {
        str(metric): {
            qid: _within(metric, found[qid][_measure(metric).replace(".", "_")])
            if qid in found
            else 0.0
            for qid in judged
        }
        for metric in metrics
    }


def _measure(metric: Metric) -> str:
    """What trec_eval calls it."""
    name = TREC_EVAL[metric.measure][0 if metric.cutoff else 1]
    assert name is not None, metric  # `parse` refuses it
    return name if metric.cutoff is None or metric.measure == "RR" else f"{name}.{metric.cutoff}"


def _within(metric: Metric, value: float) -> float:
    """trec_eval has no cutoff of RR: 1 / rank tells the rank, and 0 counts for one below it."""
    if metric.measure == "RR" and metric.cutoff and value and round(1 / value) > metric.cutoff:
        return 0.0
    return value
