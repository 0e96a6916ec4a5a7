"""Training examples from judged queries, with negatives out of our own runs.

A negative is a document that a retriever ranks high and that nobody judged relevant. Ranks, and a
margin below the positives by some run's scores, keep those out that do answer the question.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import TextRules
from m3eval.errors import UserError
from m3eval.retrievers.run import Ranking, Run
from m3eval.training.leaks import alike


@dataclass(frozen=True)
class Choice:
    """Which documents of a run are taken; conf/mine.yaml explains each."""

    negatives: int
    ranks: tuple[int, int]  # from 1, both included
    margin: float
    neg_q: bool
    most: int | None
    seed: int


class Mined(NamedTuple):
    """The examples of a language, as they are written, and what was left out."""

    rows: list[dict[str, object]]
    asked_elsewhere: int  # queries that must never be trained on
    without_positive: int  # queries none of whose relevant documents is in the corpus
    few: int  # examples with fewer negatives than asked for


def mine(
    task: Task,
    rules: TextRules,
    choice: Choice,
    never: Collection[str],
    run: Run | None = None,
    judge: Run | None = None,
) -> Mined:
    """The examples of one language.

    Args:
        task: its queries, judged by document, and its corpus.
        rules: how documents become text.
        choice: how many negatives, and which.
        never: questions that must not be trained on, by `leaks.alike`.
        run: has the candidates; None: no negatives.
        judge: a run whose scores the margin is about, and which are written beside the texts; a
            document that it does not have is no negative.

    Raises:
        UserError: the queries are judged by answers.
    """
    if task.qrels is None:
        raise UserError("Examples come from judgements by document, not by answer.")
    text = {document.docid: rules.text(document) for document in task.corpus.read()}
    answered = _answered(task, text, never) if choice.neg_q else {}
    rows: list[dict[str, object]] = []
    elsewhere = without = few = 0
    for query in task.queries:
        relevant = [d for d, grade in task.qrels.get(query.qid, {}).items() if grade > 0]
        positives = [docid for docid in relevant if docid in text]
        if alike(query.text) in never:
            elsewhere += 1
            continue
        if not positives:
            without += 1
            continue
        row: dict[str, object] = {"query": query.text, "pos": [text[d] for d in positives]}
        scores = _scores(judge, query.qid)
        candidates = [] if run is None else _candidates(run.get(query.qid), choice)
        taken = {alike(text[d]) for d in positives} | {alike(query.text)}
        allowed: dict[str, list[str]] = {}  # docid -> the other questions that it answers
        for docid in candidates:
            if docid not in text or (content := alike(text[docid])) in taken:
                continue
            others = [q for q in answered.get(content, ()) if alike(q) != alike(query.text)]
            if (others or not choice.neg_q) and _below(docid, positives, scores, choice.margin):
                taken.add(content)
                allowed[docid] = others
        rng = random.Random(f"{choice.seed}/{task.language}/{query.qid}")
        chosen = rng.sample([*allowed], min(choice.negatives, len(allowed)))
        few += len(chosen) < choice.negatives
        row["neg"] = [text[docid] for docid in chosen]
        if choice.neg_q:
            row["neg_q"] = [rng.choice(allowed[docid]) for docid in chosen]
        if scores is not None and all(docid in scores for docid in positives):
            row["pos_scores"] = [scores[docid] for docid in positives]
            row["neg_scores"] = [scores[docid] for docid in chosen]
        rows.append(row)
    return Mined(_at_most(rows, choice), elsewhere, without, few)


def _answered(task: Task, text: Mapping[str, str], never: Collection[str]) -> dict[str, list[str]]:
    """The questions that may be trained on by the documents that answer them, by `alike`."""
    assert task.qrels is not None
    answered: dict[str, list[str]] = {}
    for query in task.queries:
        for docid, grade in task.qrels.get(query.qid, {}).items():
            if grade > 0 and docid in text and alike(query.text) not in never:
                answered.setdefault(alike(text[docid]), []).append(query.text)
    return answered


def _candidates(ranking: Ranking | None, choice: Choice) -> Sequence[str]:
    first, last = choice.ranks
    return [] if ranking is None else list(ranking.docids[first - 1 : last])


def _scores(judge: Run | None, qid: str) -> Mapping[str, float] | None:
    if judge is None:
        return None
    ranking = judge.get(qid)
    if ranking is None:
        return {}
    return dict(zip(ranking.docids, map(float, ranking.scores), strict=True))


def _below(
    docid: str, positives: Sequence[str], scores: Mapping[str, float] | None, margin: float
) -> bool:
    """Whether a document scores so far below the weakest positive that it may be a negative."""
    if scores is None:
        return True
    known = [scores[positive] for positive in positives if positive in scores]
    return docid in scores and bool(known) and scores[docid] <= min(known) - margin


def _at_most(rows: list[dict[str, object]], choice: Choice) -> list[dict[str, object]]:
    """Some of the rows, drawn at random; documents that no drawn row has come first."""
    if choice.most is None or len(rows) <= choice.most:
        return rows
    drawn = rows[:]
    random.Random(choice.seed).shuffle(drawn)
    seen: set[object] = set()
    first, again = [], []
    for row in drawn:
        positives = row["pos"]
        assert isinstance(positives, list)
        (again if positives[0] in seen else first).append(row)
        seen.add(positives[0])
    return (first + again)[: choice.most]
