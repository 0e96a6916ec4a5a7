"""m3eval from Python: the same figures as the commands, and errors that say what to do."""

import csv
import inspect
import json
import math
import pydoc
import subprocess
import sys

import pytest
import yaml

import m3eval
from m3eval import UserError, compare, evaluate, load_run
from m3eval.benchmarks.demo import TIERS
from m3eval.commands import compare as command
from m3eval.config import check, compose
from tests.needs import needs

RETRIEVERS = ["dense", "sparse", "dense_sparse"]


@pytest.fixture
def evaluated(words_in, tmp_path):
    """evaluated(languages=[...]) is an evaluation on the miniature mirror."""

    def run(**arguments):
        words = (word.split("=", 1) for word in words_in(tmp_path / "outputs"))
        settings = {name: yaml.safe_load(value) for name, value in words if name != "languages"}
        given = {"languages": ["sw", "yo"], "retrievers": RETRIEVERS, "quiet": True} | arguments
        given["settings"] = settings | given.get("settings", {})
        return evaluate("miracl", "bge_m3", **given)

    return run


def test_an_evaluation_has_what_the_files_have(evaluated, capsys):
    found = evaluated()
    assert capsys.readouterr().out == ""
    written = json.loads((found.folder / "scores/scores.json").read_text())["scores"]
    assert found.scores.loc[("nDCG@10", "sw"), "dense"] == pytest.approx(
        written["nDCG@10"]["dense"]["sw"], abs=1e-4
    )
    assert list(found.scores.columns) == RETRIEVERS
    assert {language for _, language in found.scores.index} == {"sw", "yo", "average"}
    rows = list(csv.DictReader((found.folder / "scores/per_query.csv").open()))
    assert len(found.per_query) == len(rows)
    first = found.per_query.iloc[0]
    assert (first["retriever"], first["language"], first["qid"]) == (
        rows[0]["retriever"],
        rows[0]["language"],
        rows[0]["qid"],
    )
    assert first["nDCG@10"] == pytest.approx(float(rows[0]["nDCG@10"]), abs=1e-5)
    assert found.table() == (found.folder / "scores/scores.md").read_text()
    lines = (found.folder / "runs/dense/sw.trec").read_text().splitlines()
    qid, _, docid, _, score, _ = lines[0].split()
    assert found.runs["dense", "sw"][qid].docids[0] == docid
    assert found.runs["dense", "sw"][qid].scores[0] == pytest.approx(float(score), rel=1e-6)


def test_an_evaluation_holds_what_was_asked_for_alone(evaluated, capsys):
    evaluated()
    narrow = evaluated(languages=["yo"], retrievers=["sparse"], quiet=False)
    assert "scored too, for they stand in the tables" in capsys.readouterr().out
    assert list(narrow.scores.columns) == ["sparse"]
    assert {language for _, language in narrow.scores.index} == {"yo"}
    assert list(narrow.runs) == [("sparse", "yo")]


def test_what_notebooks_show_is_escaped_and_whole(evaluated):
    found = evaluated(settings={"encoder.label": "<b>mine</b>"})
    html = found._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;mine" in html
    assert html.count("<table>") == html.count("</table>") == 2  # nDCG@10 and R@100
    compared = compare(found.systems)._repr_html_()
    assert compared.count("<table>") == 4 and "Holm-corrected" in compared


def test_a_comparison_is_the_commands(evaluated, words_in, tmp_path):
    found = evaluated()
    compared = compare(found.systems, baseline="sparse", settings={"resamples": 2000})
    given = [word for word in words_in(tmp_path / "outputs") if "languages" not in word]
    words = [*given, "languages=[sw,yo]", f"systems=[{','.join(RETRIEVERS)}]", "baseline=sparse"]
    command.run(check(compose(*words, "resamples=2000", config="compare")))
    written = json.loads((found.folder / "comparison/comparison.json").read_text())
    assert len(compared.differences) == len(written["comparisons"])
    for ours, theirs in zip(
        compared.differences.to_dict("records"), written["comparisons"], strict=True
    ):
        assert (ours["system"], ours["language"]) == (theirs["system"], theirs["language"])
        assert ours["p_holm"] == pytest.approx(theirs["p_holm"], nan_ok=True)
    assert compared.table().startswith((found.folder / "comparison/comparison.md").read_text())
    assert compared.scores.loc[("nDCG@10", "dense"), "sw"] == pytest.approx(
        found.scores.loc[("nDCG@10", "sw"), "dense"]
    )


def test_a_run_of_others_stands_beside_ours(evaluated, tmp_path):
    found = evaluated(languages=["sw"])
    theirs = load_run(found.folder / "runs/sparse/sw.trec")
    forgetful = {qid: ranking for i, (qid, ranking) in enumerate(theirs.items()) if i}
    systems = {"ours": found.systems["dense"], "theirs": theirs, "forgetful": forgetful}
    compared = compare(systems)
    assert compared.scores.loc[("nDCG@10", "theirs"), "sw"] == pytest.approx(
        found.scores.loc[("nDCG@10", "sw"), "sparse"]
    )
    assert any("are not in the run and score 0" in note for note in compared.notes)
    assert compared.notes[0] in compared.table() and compared.notes[0] in compared._repr_html_()


@needs("bm25s")
def test_groups_of_queries_and_chance_come_from_the_benchmark_to_the_table(tmp_path):
    found = evaluate(
        "demo", None, ["ko"], ["bm25s"], ["nDCG@10"], {"output_dir": str(tmp_path)}, quiet=True
    )
    frame = found.per_query.set_index("qid")["nDCG@10"]
    keyword, paraphrase = (frame[frame.index.str.startswith(name)] for name in TIERS)
    assert len(keyword) == len(paraphrase) == 36
    rows = dict(line.split(" | | ") for line in found.table().splitlines() if " | | " in line)
    assert rows["| keyword"] == f"{100 * keyword.mean():.1f} |"
    assert rows["| paraphrase"] == f"{100 * paraphrase.mean():.1f} |"
    # One of 36 documents answers: a random order has it at each rank alike.
    chance = sum(1 / math.log2(rank + 1) for rank in range(1, 11)) / 36
    assert f"| chance | | {100 * chance:.1f} |" in found.table()


@pytest.mark.parametrize(
    "systems, wrong",
    [
        (lambda both, _: {"a": both.systems["dense"]}, "needs two systems or more"),
        (lambda both, _: {"a": both.runs["dense", "sw"], "b": both.runs["dense", "sw"]}, "of an"),
        (lambda both, _: both.systems | {"c": both.runs["dense", "sw"]}, "is of one language"),
        (lambda both, one: {"a": both.systems["dense"], "b": one.systems["dense"]}, "on the same"),
    ],
)
def test_what_cannot_be_compared_is_refused(evaluated, systems, wrong):
    both, one = evaluated(), evaluated(languages=["sw"])
    with pytest.raises(UserError, match=wrong):
        compare(systems(both, one))


def test_evaluations_of_other_texts_are_refused_unless_accepted(evaluated):
    lengths = {"benchmark.text.max_document_length": 16}
    first = evaluated(languages=["sw"])
    second = evaluated(languages=["sw"], settings=lengths | {"encoder.name": "short"})
    systems = {"long": first.systems["dense"], "short": second.systems["dense"]}
    with pytest.raises(UserError, match="max_length"):
        compare(systems)
    accepted = compare(systems, settings={"accept": ["max_length"]})
    assert "accepted difference" in accepted.table()


def test_wrong_settings_are_errors_of_the_user(evaluated):
    with pytest.raises(UserError, match="nDCG@0"):
        evaluated(metrics=["nDCG@0"])
    with pytest.raises(UserError, match="baseline=nobody"):
        compare(evaluated(languages=["sw"]).systems, baseline="nobody")
    with pytest.raises(UserError, match="plan_only"):
        evaluated(languages=["sw"], settings={"plan_only": True, "encoder.name": "plan"})


def test_help_reads_well():
    text = pydoc.plain(pydoc.render_doc(m3eval.evaluate))
    for name in inspect.signature(m3eval.evaluate).parameters:
        assert f"    {name}: " in text
    assert max(map(len, inspect.getdoc(m3eval.evaluate).splitlines())) <= 96
    assert {*m3eval.FROM_PYTHON} <= {*dir(m3eval)}
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = m3eval.evaluat


def test_the_package_imports_nothing_heavy_before_a_name_is_asked_for():
    code = "import sys, m3eval; print({'torch', 'hydra', 'm3eval.api'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
