"""Scores of runs, whichever way a benchmark is judged: by documents or by answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from m3eval.errors import UserError
from m3eval.metrics.answers import Denominator, Matching, by_answers
from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores, by_documents
from m3eval.retrievers.run import Run


@dataclass(frozen=True)
class DocumentJudgements:
    """For each query, the documents that somebody judged."""

    grades: Mapping[str, Mapping[str, int]]  # qid -> docid -> grade


@dataclass(frozen=True)
class AnswerJudgements:
    """For each question, the answers of which one must stand in a document."""

    answers: Mapping[str, Sequence[str]]  # qid -> strings, of which any suffices
    documents: Callable[[], Iterator[tuple[str, str]]]  # reads docids and texts of the corpus
    denominator: Denominator = "all"
    matching: Matching = "tokens"


Judgements = DocumentJudgements | AnswerJudgements


def judge(runs: Iterable[Run], judgements: Judgements, metrics: Sequence[Metric]) -> list[Scores]:
    """The scores of every judged query, for each run in turn.

    Memory holds one run at a time and, of answers, only as much of each as the metrics look at: all
    runs are judged in one pass over the corpus then, for that is what takes the time.

    Args:
        runs: each is read when its turn comes, and not needed afterwards.
        judgements: of the queries.
        metrics: what to compute.

    Raises:
        UserError: these judgements allow no such metric.
    """
    if isinstance(judgements, DocumentJudgements):
        return [by_documents(run, judgements.grades, metrics) for run in runs]
    if other := [str(metric) for metric in metrics if metric.measure != "R"]:
        raise UserError(
            f"This benchmark is judged by answers, which give R@k only, not {', '.join(other)}: "
            "set benchmark.metrics=[R@20,R@100]."
        )
    deepest = max(metric.cutoff or 0 for metric in metrics)
    heads = [{qid: ranking.head(deepest) for qid, ranking in run.items()} for run in runs]
    return by_answers(
        heads,
        judgements.answers,
        judgements.documents(),
        metrics,
        judgements.denominator,
        judgements.matching,
    )
