"""`m3eval evaluate run=FILE qrels=FILE`: scores as trec_eval has them, and what does not fit."""

import csv
import json

import numpy as np
import pytest
import pytrec_eval

from m3eval.__main__ import main
from m3eval.commands.judged import names_of
from tests.needs import imported


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two runs of 30 queries and their judgements, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    qrels = {f"q{i}": {f"d{j}": int(rng.integers(0, 3)) for j in range(8)} for i in range(30)}

    def run(weight):
        lists = {}
        for qid, grades in qrels.items():
            judged = {docid: float(g * weight + rng.normal()) for docid, g in grades.items()}
            lists[qid] = judged | {f"x{j}": float(rng.normal()) for j in range(20)}
        return lists

    runs = {"good": run(3.0), "bad": run(0.0)}
    (tmp_path / "qrels.tsv").write_text(
        "".join(f"{qid} 0 {docid} {g}\n" for qid, of in qrels.items() for docid, g in of.items())
    )
    (tmp_path / "good.json").write_text(json.dumps(runs["good"]))
    (tmp_path / "bad.trec").write_text(
        "".join(
            f"{qid} Q0 {docid} 1 {score!r} bad\n"
            for qid, of in runs["bad"].items()
            for docid, score in of.items()
        )
    )
    return qrels, runs


WORDS = ["evaluate", "run=[good.json,bad.trec]", "qrels=qrels.tsv", "resamples=2000"]


def test_scores_are_trec_evals_and_tests_stand_beside_them(files, tmp_path, capsys):
    qrels, runs = files
    assert main([*WORDS, "metrics=[nDCG@10,AP]", "out=tables"]) == 0
    rows = list(csv.DictReader((tmp_path / "tables/per_query.csv").open()))
    assert len(rows) == 60
    for name, run in runs.items():
        expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map"}).evaluate(run)
        for row in [row for row in rows if row["run"] == name]:
            for ours, theirs in (("nDCG@10", "ndcg_cut_10"), ("AP", "map")):
                assert float(row[ours]) == pytest.approx(expected[row["qid"]][theirs], rel=1e-5)
    table = json.loads((tmp_path / "tables/evaluation.json").read_text())
    mean = np.mean([float(row["AP"]) for row in rows if row["run"] == "good"])
    assert table["scores"]["good"]["AP"] == pytest.approx(100 * mean, abs=1e-3)
    compared = json.loads((tmp_path / "tables/comparison.json").read_text())
    (tested,) = [row for row in compared["comparisons"] if row["metric"] == "AP"]
    assert tested["system"] == "bad" and tested["difference"] < 0 and tested["p_holm"] < 0.01
    assert {*compared["provenance"]["runs"]} == {"good", "bad"}
    assert not (tmp_path / "outputs").exists()  # neither benchmark nor log
    said = capsys.readouterr().out
    assert "means over 30 judged queries of qrels.tsv" in said and "▼" in said
    # A single run has no tests, and none of an earlier call stay beside it.
    assert main(["evaluate", "run=bad.trec", "qrels=qrels.tsv", "out=tables"]) == 0
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "evaluation.md",
        "per_query.csv",
    ]


def test_scores_are_those_of_ranx(files, tmp_path):
    ranx = imported("ranx")
    qrels, runs = files
    assert main([*WORDS, "metrics=[nDCG@10,RR@10,R@5]", "out=tables"]) == 0
    scores = json.loads((tmp_path / "tables/evaluation.json").read_text())["scores"]
    for name, run in runs.items():
        metrics = ["ndcg@10", "mrr@10", "recall@5"]
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), metrics)
        for ours, value in zip(scores[name].values(), theirs.values(), strict=True):
            assert ours == pytest.approx(100 * value, abs=1e-3)


def test_what_does_not_go_together_is_said(files, tmp_path, capsys):
    part = {"q0": {"d1": 1.0}, "unknown": {"d1": 1.0}}
    (tmp_path / "part.json").write_text(json.dumps(part))
    (tmp_path / "strange.json").write_text(json.dumps({"q0": {"D-1": 1.0}}))
    assert main(["evaluate", "run=[part.json,strange.json]", "qrels=qrels.tsv"]) == 0
    said = capsys.readouterr().out
    for sentence in (
        "part: 29 of 30 judged queries are not in the run and score 0, for example q1",
        "part: 1 of 2 queries of the run have no judgement and count nowhere, for example unknown",
        "strange: no document of the run is judged at all",
    ):
        assert sentence in said
    notes = json.loads((tmp_path / "evaluation/evaluation.json").read_text())["notes"]
    assert len(notes) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=none.trec", "qrels=qrels.tsv"], "none.trec does not exist"),
        (["run=bad.trec"], "must be given: qrels="),
        (["qrels=qrels.tsv"], "must be given: run="),
        (["run=[]", "qrels=qrels.tsv"], "a list of at least one"),
        (["run=[bad.trec,./bad.trec]", "qrels=qrels.tsv"], "is given twice"),
        (["run=bad.trec", "qrels=qrels.tsv", "metrics=[nDGC]"], "nDCG@k"),
        (["run=bad.trec", "qrels=qrels.tsv", "baseline=x"], "baseline=x is none of the runs bad"),
        (["run=bad.trec", "qrels=qrels.tsv", "languages=[ko]"], "unknown setting languages"),
        (["run=bad.trec", "qrels=other.tsv"], "not one of 1 judged queries is in the run"),
        (["run=bad.trec", "qrels=nothing.tsv"], "call no document relevant"),
        (["run=bad.trec", "qrels=qrels.tsv", "out=qrels.tsv"], "qrels.tsv"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(files, tmp_path, capsys, words, said):
    (tmp_path / "other.tsv").write_text("Q0 0 d1 1\n")
    (tmp_path / "nothing.tsv").write_text("q0 0 d1 0\n")
    assert main(["evaluate", *words]) == 2
    assert said in capsys.readouterr().out


def test_names_tell_runs_apart(tmp_path):
    paths = [tmp_path / name for name in ("a/run.trec", "b/run.json.gz", "c.trec")]
    assert names_of(paths) == ["a/run", "b/run", "c"]
    dotted = [tmp_path / name for name in ("a.b/bm25.v1.trec.gz", "a.c/bm25.v2.trec")]
    assert names_of(dotted) == ["bm25.v1", "bm25.v2"]
    assert names_of([tmp_path / "x.trec", tmp_path / "x.json"]) == ["x.trec", "x.json"]
