"""What ranked lists are like, apart from how good they are: overlap, unjudged documents, scores by rank, length and quality."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from m3eval.retrievers.run import Run


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of documents that two lists have in common, of the longer one's; 1 where both are empty."""
    longest = max(len(one), len(other))
    return len({*one} & {*other}) / longest if longest else 1.0


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """Documents that both lists have, of those that any has; 1 where both are empty."""
    union = {*one} | {*other}
    return len({*one} & {*other}) / len(union) if union else 1.0


def mean_overlaps(one: Run, other: Run, qids: Collection[str]) -> tuple[float, float]:
    """Overlap of the first 10 and Jaccard index of the first 100 documents, means over the queries.

    Args:
        one: a run.
        other: a run.
        qids: the queries, at least one; a query that a run lacks found nothing in it.
    """
    pairs = [tuple(run[qid].docids if qid in run else [] for run in (one, other)) for qid in qids]
    return (
        float(np.mean([overlap(a[:10], b[:10]) for a, b in pairs])),
        float(np.mean([jaccard(a[:100], b[:100]) for a, b in pairs])),
    )


def unjudged(run: Run, qrels: Mapping[str, Mapping[str, int]], depth: int = 10) -> float:
    """The share of the first documents that nobody judged, mean over judged queries that found something; else nan."""
    shares = [
        np.mean([docid not in grades for docid in run[qid].docids[:depth]])
        for qid, grades in qrels.items()
        if qid in run and run[qid].docids
    ]
    return float(np.mean(shares)) if shares else float("nan")


def scores_at(run: Run, place: int) -> np.ndarray:
    """[n] float32: the scores at a rank (from 1 on), of the n queries whose lists reach it."""
    return np.array(
        [ranking.scores[place - 1] for ranking in run.values() if len(ranking.scores) >= place],
        np.float32,
    )


def thirds(lengths: Mapping[str, float], scores: Mapping[str, float]) -> list[float]:
    """The mean score of the shortest, the middle and the longest third of the queries that have a length.

    Equal lengths are told apart by qid. A third without a query is nan.
    """
    order = sorted((qid for qid in scores if qid in lengths), key=lambda qid: (lengths[qid], qid))
    parts = np.array_split([scores[qid] for qid in order], 3)
    return [float(part.mean()) if len(part) else float("nan") for part in parts]
