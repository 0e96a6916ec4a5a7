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


LINE = "q1 Q0 d1 1 2.5 tag\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINE + "q1 Q0 d2\n", "line 2: not a run .*: 3 columns in 'q1 Q0 d2'"),
        (LINE + LINE.replace("\n", " more\n"), "line 2: not a run .*: 7 columns"),
        (LINE + "\nq1 Q0 d2 2 nan tag\n", "line 3: not a run .* the score 'nan' is no finite"),
        ("q1 Q0 d2 2 1e39 tag\n" + LINE, "line 1: not a run .* '1e39' .* in single precision"),
        (LINE + "q1 Q0 d2 2 -inf tag\n", "line 2: .* '-inf'"),
        (LINE + "q1 Q0 d2 2  tag\n", "line 2: not a run .*: 5 columns"),
        (LINE + "q2 Q0 d1 1 1 tag\n" + LINE, "line 3: query 'q1' has document 'd1' a second time"),
        (LINE + "q3 Q0 d1 1 1 tag\n", "line 2: there is no query 'q3' in the benchmark"),
    ],
)
def test_a_run_of_another_form_is_refused_with_its_first_wrong_line(tmp_path, text, said):
    path = tmp_path / "xx.trec"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"xx\.trec, {said}") as error:
        read_run(path, ["q1", "q2"])
    assert "\n" not in str(error.value)
    path.write_text(LINE)
    assert list(read_run(path, ["q2", "q1"])) == ["q2", "q1"]
    assert list(read_run(path)) == ["q1"]


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "xx.trec").write_bytes(b"q1 Q0 d\xff 1 2.5 tag\n")
    with pytest.raises(UserError, match="no run in TREC format: 'utf-8' codec"):
        read_run(tmp_path / "xx.trec")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_run(tmp_path)
    for content in ("qid\tdocid\n", "a\tb\tc\nq\td\t1\n", "qid\tdocid\tx\nq\td\thigh\n", ""):
        (tmp_path / "xx.components.tsv").write_text(content)
        if content != "qid\tdocid\n":
            with pytest.raises(UserError, match=r"components.tsv .*: run `m3eval search` again"):
                read_components(tmp_path / "xx.components.tsv")


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
