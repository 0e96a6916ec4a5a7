"""The one order of documents, and run files."""

import numpy as np
import pytest
import pytrec_eval

from m3eval.errors import UserError
from m3eval.layout import RunFiles
from m3eval.retrievers.run import (
    Ranking,
    rank,
    ranked,
    read_components,
    read_run,
    without_self,
    write_run,
)


def slow_rank(docids, scores, depth):
    pairs = sorted(
        zip(np.asarray(scores, np.float32).tolist(), docids, range(len(docids)), strict=True),
        key=lambda p: p[1],
        reverse=True,
    )
    return [i for _, _, i in sorted(pairs, key=lambda p: -p[0])][:depth]


@pytest.mark.parametrize("seed", range(20))
def test_score_descending_then_docid_descending(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    docids = [f"d{i}" for i in rng.permutation(n)]
    scores = rng.integers(0, 6, n) / 7  # many ties
    for depth in (1, 3, n, 100):
        assert rank(docids, scores, depth).tolist() == slow_rank(docids, scores, depth)


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    scores = np.random.default_rng(0).integers(0, 9, 500) / 9
    docids = [str(i) for i in range(500)]
    assert rank(docids, scores, 10).tolist() == rank(docids, scores, 400)[:10].tolist()


def test_the_tie_rule_is_trec_evals():
    """nDCG, which sees the order, is the same for our order and for trec_eval's own sorting."""
    rng = np.random.default_rng(1)
    docids = [f"d{i:02d}" for i in range(40)]
    scores = rng.integers(0, 4, 40).astype(float)
    qrels = {
        "q": {
            docid: int(grade) for docid, grade in zip(docids, rng.integers(0, 2, 40), strict=True)
        }
    }
    order = rank(docids, scores, 40)
    by_rank = {docids[i]: float(40 - place) for place, i in enumerate(order)}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg", "map"})
    tied = evaluator.evaluate({"q": dict(zip(docids, scores, strict=True))})
    assert tied == pytrec_eval.RelevanceEvaluator(qrels, {"ndcg", "map"}).evaluate({"q": by_rank})


def test_scores_that_differ_in_float64_only_are_equal():
    assert rank(["a", "b"], np.array([1.0, 1.0 - 1e-12]), 2).tolist() == [1, 0]


def test_files_give_every_float_back(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=50).astype(np.float32)
    parts = {"dense": rng.normal(size=50).astype(np.float32), "sparse": np.zeros(50, np.float32)}
    run = {
        "NA": ranked([f"{i}#{i}" for i in range(50)], scores, 30, parts),
        "q#2": ranked(["null"], np.ones(1), 30, {name: np.ones(1) for name in parts}),
        "empty": Ranking([], np.empty(0, np.float32)),
    }
    files = RunFiles(tmp_path / "xx.trec")
    write_run(files, run, "tag")
    from_file = read_run(files.trec, run)
    assert list(from_file) == list(run)
    for qid in run:
        assert from_file[qid].docids == run[qid].docids
        np.testing.assert_array_equal(from_file[qid].scores, run[qid].scores)
    components = read_components(files.components)
    assert list(components) == ["NA", "q#2"]
    for qid, (docids, scores) in components.items():
        assert docids == run[qid].docids and list(scores) == ["dense", "sparse"]
        for name in scores:
            np.testing.assert_array_equal(scores[name], run[qid].components[name])
    first = (tmp_path / "xx.trec").read_text().splitlines()[0].split(" ")
    assert first[:2] + first[3:4] + first[5:] == ["NA", "Q0", "1", "tag"]
    lines = (tmp_path / "xx.components.tsv").read_text().splitlines()
    assert lines[0] == "qid\tdocid\tdense\tsparse" and len(lines) == 32
    values = np.array([line.split("\t")[2] for line in lines[1:31]], np.float32)
    np.testing.assert_array_equal(values, run["NA"].components["dense"])


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist: run `m3eval search`"):
        read_run(tmp_path / "none.trec")
    (tmp_path / "bad.trec").write_text("q1 Q0 d1 1 high tag\n")
    with pytest.raises(UserError, match="not a run in TREC format"):
        read_run(tmp_path / "bad.trec")
    (tmp_path / "empty.trec").write_text("")
    assert read_run(tmp_path / "empty.trec", ["q"])["q"].docids == []


def test_tabs_and_columns_of_other_tools(tmp_path):
    (tmp_path / "xx.trec").write_text(
        "301\tQ0\td1\t1\t  2.5\tSTANDARD\n301\tQ0\td2\t2\t  1.5\tSTANDARD\n"
    )
    assert read_run(tmp_path / "xx.trec")["301"].docids == ["d1", "d2"]


def test_without_self_drops_the_own_document_and_nothing_else():
    components = {"dense": np.array([3, 2, 1], np.float32)}
    run = {
        "b": Ranking(["a", "b", "c"], np.array([3, 2, 1], np.float32), components),
        "x": Ranking(["a", "b"], np.array([2, 1], np.float32)),
        "y": Ranking(["y"], np.array([1], np.float32)),
    }
    found = without_self(run)
    assert [ranking.docids for ranking in found.values()] == [["a", "c"], ["a", "b"], []]
    assert found["b"].scores.tolist() == [3, 1] and found["b"].components["dense"].tolist() == [
        3,
        1,
    ]
    assert run["b"].docids == ["a", "b", "c"]
