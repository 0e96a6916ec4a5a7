"""`m3eval mine`: which documents become negatives, and which questions are left out."""

import json
from dataclasses import replace

import numpy as np
import pytest

from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.benchmarks.texts import TextRules
from m3eval.commands import mine as command
from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.retrievers.run import Ranking
from m3eval.training.mining import Choice, mine

# d1 answers q1; d2 has its text again, d3 the question's; q2's document is not in the corpus.
TEXTS = {"d1": "p one", "d2": "P  One", "d3": "ask one", "d4": "four", "d5": "five", "d6": "FIVE"}
TASK = Task(
    "xx",
    Corpus("xx", lambda: iter([Document(docid, "", text) for docid, text in TEXTS.items()])),
    [Query("q1", "ask one"), Query("q2", "ask two"), Query("q3", "ask three")],
    {"q1": {"d1": 1, "d4": 0}, "q2": {"gone": 1}, "q3": {"d5": 2}},
)
RANKED = ["d1", "d2", "d3", "d4", "d5", "d6"]
RUN = {qid: Ranking(RANKED, np.arange(6, 0, -1, np.float32)) for qid in ("q1", "q2", "q3")}


def choice(negatives=5, ranks=(1, 6), margin=0.0, neg_q=False, most=None, seed=0):
    return Choice(negatives, ranks, margin, neg_q, most, seed)


def mined(settings, never=(), run=RUN, judge=None):
    return mine(TASK, TextRules(), settings, never, run, judge)


def negatives(found):
    return {row["query"]: sorted(row["neg"]) for row in found.rows}


def test_a_negative_is_no_positive_and_no_equal_text():
    found = mined(choice())
    assert negatives(found) == {
        "ask one": ["five", "four"],
        "ask three": ["ask one", "four", "p one"],
    }
    assert found.without_positive == 1 and found.few == 2
    assert [row["pos"] for row in found.rows] == [["p one"], ["five"]]


def test_ranks_are_counted_from_one_with_both_ends():
    assert negatives(mined(choice(ranks=(4, 5))))["ask one"] == ["five", "four"]
    assert negatives(mined(choice(ranks=(4, 4))))["ask one"] == ["four"]
    assert negatives(mined(choice(ranks=(7, 9))))["ask one"] == []


def test_a_judge_keeps_out_what_scores_near_a_positive():
    scores = {"d1": 2.0, "d2": 0.0, "d3": 0.0, "d4": 1.9, "d5": 1.0}
    judge = {"q1": Ranking([*scores], np.array([*scores.values()], np.float32))}
    near = mined(choice(margin=0.05), judge=judge)
    far = mined(choice(margin=0.5), judge=judge)
    assert negatives(near)["ask one"] == ["five", "four"]
    assert negatives(far)["ask one"] == ["five"]
    (row,) = [row for row in far.rows if row["query"] == "ask one"]
    assert row["pos_scores"] == [2.0] and row["neg_scores"] == [1.0]
    assert negatives(far)["ask three"] == []  # the judge says nothing of it


def test_questions_that_must_not_be_trained_on_are_left_out():
    found = mined(choice(), never={"ask three"})
    assert [row["query"] for row in found.rows] == ["ask one"] and found.asked_elsewhere == 1


def test_negatives_with_a_question_that_they_answer():
    found = mined(choice(neg_q=True))
    assert {row["query"]: (row["neg"], row["neg_q"]) for row in found.rows} == {
        "ask one": (["five"], ["ask three"]),
        "ask three": (["p one"], ["ask one"]),
    }


def test_no_such_question_is_one_that_must_not_be_trained_on_nor_the_own_one():
    found = mined(choice(neg_q=True), never={"ask three"})
    assert [(row["query"], row["neg"], row["neg_q"]) for row in found.rows] == [("ask one", [], [])]
    twice = [*TASK.queries, Query("q4", "Ask  THREE")]
    task = replace(TASK, queries=twice, qrels={**(TASK.qrels or {}), "q4": {"d4": 1}})
    run = {**RUN, "q4": RUN["q1"]}
    rows = mine(task, TextRules(), choice(neg_q=True), (), run).rows
    assert [row["neg_q"] for row in rows if row["query"] == "ask three"] == [["ask one"]]
    first = next(row for row in rows if row["query"] == "ask one")
    assert dict(zip(first["neg"], first["neg_q"], strict=True)) == {
        "five": "ask three",
        "four": "Ask  THREE",
    }


def test_draws_are_the_same_again_and_other_with_another_seed():
    draws = [negatives(mined(choice(negatives=1, seed=seed)))["ask three"] for seed in range(9)]
    again = [negatives(mined(choice(negatives=1, seed=seed)))["ask three"] for seed in range(9)]
    assert draws == again and len({*map(tuple, draws)}) > 1


def test_at_most_so_many_and_other_documents_first():
    texts = {f"d{i}": f"t{i % 3}" for i in range(9)}
    task = Task(
        "xx",
        Corpus("xx", lambda: iter([Document(d, "", t) for d, t in texts.items()])),
        [Query(f"q{i}", f"ask {i}") for i in range(9)],
        {f"q{i}": {f"d{i}": 1} for i in range(9)},
    )
    for seed in range(5):
        found = mine(task, TextRules(), choice(0, most=3, seed=seed), (), None)
        assert sorted(row["pos"][0] for row in found.rows) == ["t0", "t1", "t2"]


def settings(*words):
    return check(compose("benchmark=demo", "languages=[en]", *words, config="mine"))


def test_the_command_writes_examples_that_training_reads(tmp_path):
    from m3eval.training.data import read

    never = tmp_path / "queries.tsv"
    never.write_text("x\tWHAT is  it?\n")
    setup = settings("negatives=0", f"folder={tmp_path}", f"never=[{tmp_path}/*.tsv]", "most=5")
    command.run(setup)
    examples = read([str(tmp_path / "demo-en.jsonl")])
    assert len(examples) == 5 and not any(each.negatives for each in examples)
    asked = examples[0].query
    never.write_text(f"x\t {asked.upper()}\n")
    command.run(settings("negatives=0", f"folder={tmp_path}", f"never=[{never}]"))
    rows = [json.loads(line) for line in (tmp_path / "demo-en.jsonl").read_text().splitlines()]
    assert len(rows) == 71 and asked not in {row["query"] for row in rows}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ranks=[9,3]"], r"ranks=\[9,3\]: the first rank must not be above the last"),
        (["neg_q=true", "negatives=0"], r"neg_q=true is about negatives, and negatives=0"),
        (["never=[/nowhere/*.tsv]"], r"never: no file is called /nowhere"),
        (["mined_from=bm25s"], r"bm25s is not among the retrievers: add it"),
        (["mined_from=dense"], r"Run `m3eval search`|m3eval search|is missing|does not exist"),
    ],
)
def test_what_cannot_be_mined_is_said(words, said, tmp_path):
    with pytest.raises(UserError, match=said):
        command.run(
            settings(*words, "encoder=e5_small_q4", "retriever=[dense]", f"output_dir={tmp_path}")
        )
