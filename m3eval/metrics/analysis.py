"""What ranked lists are like, apart from how good they are.

How much they overlap, how many documents nobody judged, scores by rank, length and quality.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from m3eval.retrievers.run import Run


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """The documents that two lists share, of the longer one's; 1 where both are empty."""
    longest = max(len(first), len(second))
    return len({*first} & {*second}) / longest if longest else 1.0


def jaccard(first: Sequence[str], second: Sequence[str]) -> float:
    """The documents that two lists share, of those that any has; 1 where both are empty."""
    union = {*first} | {*second}
    return len({*first} & {*second}) / len(union) if union else 1.0


def mean_overlaps(first: Run, second: Run, qids: Collection[str]) -> tuple[float, float]:
    """Overlap of the first 10 and Jaccard index of the first 100 documents: means over queries.

    Args:
        first: a run.
        second: a run.
        qids: the queries, at least one; for a query that a run lacks its list is empty.
    """
    pairs = [
        tuple(run[qid].docids if qid in run else [] for run in (first, second)) for qid in qids
    ]
    return (
        float(np.mean([overlap(a[:10], b[:10]) for a, b in pairs])),
        float(np.mean([jaccard(a[:100], b[:100]) for a, b in pairs])),
    )


def unjudged(run: Run, qrels: Mapping[str, Mapping[str, int]], depth: int = 10) -> float:
    """The share of the first documents that nobody judged, a mean over queries.

    Over judged queries whose lists are not empty; nan where there is none.
    """
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
    """The mean score of the shortest, the middle and the longest third of the queries.

    Only queries that have a length count; equal lengths are told apart by qid. A third without a
    query is nan.
    """
    order = sorted((qid for qid in scores if qid in lengths), key=lambda qid: (lengths[qid], qid))
    parts = np.array_split([scores[qid] for qid in order], 3)
    return [float(part.mean()) if len(part) else float("nan") for part in parts]
