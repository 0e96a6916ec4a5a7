"""Runs are judged by documents or by answers, each run in its turn."""

import numpy as np
import pytest

from m3eval.errors import UserError
from m3eval.metrics.answers import by_answers
from m3eval.metrics.judge import AnswerJudgements, DocumentJudgements, judge
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import by_documents
from m3eval.retrievers.run import Ranking

TEXTS = [("d", "a"), ("e", "b"), ("f", "a b")]
METRICS = [parse("R@1"), parse("R@2")]


def run(**lists):
    return {
        qid: Ranking(list(docids), np.arange(len(docids), 0, -1).astype(np.float32))
        for qid, docids in lists.items()
    }


RUNS = [run(p="ed", q="e"), run(p="f"), run(q="de", p="e")]


def test_by_documents_one_run_after_the_other():
    qrels = {"p": {"d": 1}, "q": {"e": 2, "f": 0}}
    taken = []

    def in_turn():
        for each in RUNS:
            taken.append(each)
            yield each

    metrics = [*METRICS, parse("nDCG@10")]
    scores = judge(in_turn(), DocumentJudgements(qrels), metrics)
    assert scores == [by_documents(each, qrels, metrics) for each in RUNS] and taken == RUNS


@pytest.mark.parametrize("denominator", ["all", "run"])
def test_by_answers_all_runs_in_one_pass(denominator):
    answers, passes = {"p": ["a"], "q": ["b"]}, []

    def documents():
        passes.append(1)
        return iter(TEXTS)

    judgements = AnswerJudgements(answers, documents, denominator)
    scores = judge(iter(RUNS), judgements, METRICS)
    expected = [by_answers([each], answers, TEXTS, METRICS, denominator)[0] for each in RUNS]
    assert scores == expected and len(passes) == 1
    assert len(scores[1]["R@1"]) == {"all": 2, "run": 1}[denominator]


def test_answers_allow_recall_only():
    judgements = AnswerJudgements({"p": ["a"]}, lambda: iter(TEXTS))
    with pytest.raises(UserError, match=r"R@k only, not nDCG@10: set benchmark.metrics="):
        judge(RUNS, judgements, [parse("nDCG@10"), parse("R@1")])
