"""Runs of others are read as they were written, in every format, or refused with the place."""

import gzip
import json

import numpy as np
import pytest

from m3eval.errors import UserError
from m3eval.layout import RunFiles
from m3eval.retrievers.foreign import load_run
from m3eval.retrievers.run import read_run, write_run
from tests.needs import imported

LISTS = {"q1": {"d1": 1.5, "d2": 3.0, "d3": 1.5}, "q2": {"문서": -2.0}}
EXPECTED = {"q1": (["d2", "d3", "d1"], [3.0, 1.5, 1.5]), "q2": (["문서"], [-2.0])}
TREC = "".join(
    f"{qid} Q0 {docid} 7 {score} tag\n" for qid, of in LISTS.items() for docid, score in of.items()
)
META = {"mteb_model_meta": {"model_name": "m", "revision": "1"}}


@pytest.fixture
def file(tmp_path):
    """file(name, text or JSON values) writes a file; .gz is packed."""

    def write(name, content):
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        packed = name.endswith(".gz")
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        return path

    return write


def as_lists(run):
    return {qid: (ranking.docids, ranking.scores.tolist()) for qid, ranking in run.items()}


@pytest.mark.parametrize(
    ("name", "content", "choice"),
    [
        ("run.trec", TREC, {}),
        ("run.txt.gz", TREC, {}),
        ("tabs.run", TREC.replace(" ", "\t").replace("\n", "\r\n"), {}),
        ("run.json", LISTS, {}),
        ("run.json.gz", LISTS, {}),
        ("one_predictions.json", META | {"ko": {"dev": LISTS}}, {}),
        ("no_meta.json", {"ko": {"dev": LISTS}}, {"subset": "ko", "split": "dev"}),
        (
            "many_predictions.json",
            META | {"en": {"dev": {"q": {"d": 1}}}, "ko": {"dev": {"q": {"d": 1}}, "test": LISTS}},
            {"subset": "ko", "split": "test"},
        ),
    ],
)
def test_every_format_gives_the_same_run(file, name, content, choice):
    assert as_lists(load_run(file(name, content), **choice)) == EXPECTED


def test_a_run_of_ours_is_read_as_it_is_by_the_stages(file, tmp_path):
    rng = np.random.default_rng(0)
    lists = {f"q{i}": {f"d{j}": float(rng.normal()) for j in range(20)} for i in range(30)}
    run = load_run(file("run.json", lists))
    files = RunFiles(tmp_path / "ours" / "xx.trec")
    write_run(files, run, "tag")
    assert as_lists(load_run(files.trec)) == as_lists(run) == as_lists(read_run(files.trec))


def test_a_query_that_found_nothing_is_kept(file):
    assert as_lists(load_run(file("run.json", {"q1": {}, "q2": {"d": 1}})))["q1"] == ([], [])


@pytest.mark.parametrize(
    ("name", "content", "choice", "said"),
    [
        ("a.trec", TREC + "q1 Q0 d9 1 x tag\n", {}, "line 5: .*the score 'x' is no number"),
        ("b.trec", "q1 Q0 d9 1 inf tag\n", {}, "line 1: the score inf is no finite number"),
        ("c.trec", "q1 Q0 d9 1 1e39 tag\n", {}, "no finite number in single precision"),
        ("d.trec", "q1\td9\t1\n", {}, "line 1: not a run in TREC format, qid Q0.*3 columns"),
        ("e.trec", TREC + TREC, {}, "line 5: query 'q1' has document 'd1' a second time"),
        ("f.trec", "", {}, "it has no line"),
        ("g.run", '{"q1": {"d1": 1}}', {}, "JSON needs a name with .json in it"),
        ("h.trec", TREC, {"subset": "ko"}, "subset= and split= choose among"),
        ("i.json", "{", {}, "no valid JSON"),
        ("j.json", "[1]", {}, r"expected a run.*got '\[1\]'"),
        ("k.json", {}, {}, "it has no line"),
        ("l.json", {"q1": {"d1": "1"}}, {}, "query 'q1', document 'd1': expected a run"),
        ("m.json", {"q1": {"d1": True}}, {}, "document 'd1': expected a run"),
        ("n.json", {"q1": {"d1": 10**400}}, {}, "document 'd1': the score is no finite number"),
        ("o.json", '{"q1": {"d1": NaN}}', {}, "the score nan is no finite number"),
        ("p.json", {"q1": ["d1"]}, {}, "query 'q1': expected a run"),
        ("q.json", {"q1": {"d 1": 1}}, {}, "document 'd 1': the document id is empty or has"),
        ("y.json", {"q 1": {"d1": 1}}, {}, "query 'q 1': the query id is empty or has blanks"),
        ("r.json", '{"q1": {"d1": 1, "d1": 2}}', {}, "occurs twice"),
        ("s.json", LISTS, {"split": "dev"}, "has no subsets and splits"),
        ("t.json", {"a": {"x": LISTS}, "b": {"x": LISTS}}, {}, "2 subsets: say subset=.* a, b"),
        ("u.json", {"a": {"x": LISTS, "y": LISTS}}, {}, "2 splits: say split=, one of x, y"),
        ("v.json", {"a": {"x": LISTS}}, {"subset": "c"}, "subset=c is none of them.* a"),
        ("w.json", {"a": {"x": [1], "y": {}}}, {"split": "x"}, "expected a run"),
        ("x.json", '{"q1": {"\\ud83d": 1}}', {}, "half of a surrogate pair"),
        ("z.trec", "q\0 Q0 d 1 1 t\n", {}, "NUL"),
    ],
)
def test_what_is_no_run_is_refused_with_its_place(file, name, content, choice, said):
    with pytest.raises(UserError, match=said):
        load_run(file(name, content), **choice)


def test_missing_and_damaged_files_are_said(file, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_run(tmp_path / "none.trec")
    whole = file("cut.json.gz", LISTS)
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged or cut short"):
        load_run(whole)
    with pytest.raises(UserError, match="is a folder"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "run.trec"])
def test_what_ranx_writes_is_read(tmp_path, name):
    imported("ranx").Run(LISTS, name="theirs").save(str(tmp_path / name))
    assert as_lists(load_run(tmp_path / name)) == EXPECTED
