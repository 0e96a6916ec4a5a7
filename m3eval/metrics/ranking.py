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
    scores: Scores = {}
    for metric in metrics:
        # trec_eval has no cutoff of RR: cut the list instead.
        cut = metric.cutoff if metric.measure == "RR" else None
        name = TREC_EVAL[metric.measure][0 if metric.cutoff else 1]
        assert name is not None, metric  # `parse` refuses it
        measure = name if metric.cutoff is None or cut else f"{name}.{metric.cutoff}"
        lists = {
            qid: dict(zip(ranking.docids[:cut], map(float, ranking.scores[:cut]), strict=True))
            for qid, ranking in run.items()
            if qid in judged
        }
        values = pytrec_eval.RelevanceEvaluator(judged, {measure}).evaluate(lists)
        key = measure.replace(".", "_")
        scores[str(metric)] = {qid: values.get(qid, {}).get(key, 0.0) for qid in judged}
    return scores
