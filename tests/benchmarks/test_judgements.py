"""Judgements belong to the queries and documents that they speak of, or nothing is scored."""

from __future__ import annotations

import pytest

from m3eval.benchmarks.judgements import belonging
from m3eval.benchmarks.task import Corpus, Query, Task
from m3eval.benchmarks.texts import TextSet
from m3eval.errors import UserError


def said(qrels=None, answers=None, asked=("q1", "q2"), documents=("d1", "d2")) -> list[str]:
    queries = [Query(qid, "why") for qid in asked]
    task = Task("xx", Corpus("xx", lambda: iter(())), queries, qrels, answers)
    pairs = [(docid, "text") for docid in documents]
    census = TextSet("corpus-xx", "document", lambda: iter(pairs), 99).census(task.relevant)
    return belonging(task, census)


def test_what_belongs_needs_no_word():
    assert said({"q1": {"d1": 1, "d9": 0}, "q2": {"d2": 1}}) == []
    assert said(answers={"q1": ["a"], "q2": ["b"]}) == []


def test_what_lacks_is_counted_and_named():
    assert said({"q1": {"d1": 1}, "q8": {"d1": 1}, "q9": {"d2": 2, "d7": 1, "d6": 1}}) == [
        "xx: 2 of 3 judged queries are not among the queries, for example q8",
        "xx: 2 of 4 relevant documents are not in the corpus, for example d6",
    ]
    assert said(answers={"q1": ["a"], "q3": ["b"]}) == [
        "xx: 1 of 2 judged queries are not among the queries, for example q3"
    ]


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ({"qrels": {}}, "there is no judgement at all"),
        ({"answers": {}}, "there is no judgement at all"),
        ({"qrels": {"q1": {"d1": 0}}}, "call no document relevant"),
        ({"qrels": {"1": {"d1": 1}}}, "judged queries .* is '1', one among the queries 'q1'"),
        ({"answers": {"1": ["a"]}}, "not one of 1 judged queries"),
        ({"qrels": {"q1": {"D1": 1}}}, "relevant documents .* 'D1', one in the corpus 'd1'"),
    ],
)
def test_what_does_not_belong_stops(judgements, message):
    with pytest.raises(UserError, match=message):
        said(**judgements)
