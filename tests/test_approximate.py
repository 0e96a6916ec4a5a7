"""Approximate search from stage 1 to tables, comparisons, gates and the site: each says so."""

from __future__ import annotations

import json
import shutil

import pytest

from m3eval.__main__ import main
from m3eval.commands import site
from m3eval.errors import UserError
from m3eval.files import read_json

IVF, SW = "retriever.dense.engine=ivf", "languages=[sw]"
METRICS = "benchmark.metrics=[nDCG@10]"
SAID = "approximate, recall@10/100 .75/.50"


@pytest.fixture
def half_found(monkeypatch):
    """Sixty documents make one list, which misses none: here half are said to be missed."""
    monkeypatch.setattr("m3eval.retrievers.ivf.recall", lambda *_: {"10": 0.75, "100": 0.5})


def test_every_table_and_the_site_say_it(again, half_found, tmp_path, capsys):
    folder = again("search", "evaluate", SW, IVF, "overwrite=true")
    printed, scores = capsys.readouterr().out, folder / "scores"
    for name in ("dense", "dense_sparse"):
        assert f"{name}: {SAID}" in printed
        assert f"{name}: {SAID}" in (scores / "scores.md").read_text()
    result = json.loads((scores / "scores.json").read_text())
    assert result["approximate"] == {"dense": SAID, "dense_sparse": SAID}
    for each in result["distances"]["nDCG@10"]:
        said = "approximate, published with exact search" in each["verdict"]
        assert said == (each["retriever"] != "sparse"), each
    again("compare", SW, IVF, METRICS, "resamples=1000")
    comparison = folder / "comparison"
    assert f"dense: {SAID}" in (comparison / "comparison.md").read_text()
    assert read_json(comparison / "comparison.json")["approximate"] == result["approximate"]
    assert main(["export", "latex", str(folder), f"out={tmp_path / 'tex'}"]) == 0
    assert f"dense: {SAID}" in (tmp_path / "tex/scores.tex").read_text()
    site.build([folder], [], tmp_path / "site")
    for page in ("index.html", "benchmark/miracl.html"):
        assert SAID in (tmp_path / "site" / page).read_text(), page


def test_tables_of_a_narrower_stage_2_and_a_run_that_is_found_say_it_too(again, half_found, capsys):
    folder = again("search", "evaluate", SW, IVF, "overwrite=true")
    again("search", "evaluate", SW, IVF, "retriever=[dense]")
    assert "found finished" in capsys.readouterr().out
    assert f"dense_sparse: {SAID}" in (folder / "scores/scores.md").read_text()


def test_a_gate_of_exact_runs_refuses_approximate_ones_and_one_of_their_own_says_it(
    again, tmp_path, capsys
):
    gate = ("gate", SW, METRICS, f"gate.file={tmp_path / 'gate.yaml'}")
    again(*gate, "gate.write=true")
    again("search", SW, IVF)
    with pytest.raises(
        UserError, match=r"retrievers\.dense\.approximate: None in the gate, True now"
    ):
        again(*gate, IVF)
    again(*gate, IVF, "gate.write=true")
    folder = again(*gate, IVF)
    assert "approximate: dense, dense_sparse" in capsys.readouterr().out
    assert "approximate: dense, dense_sparse" in (folder / "gate/gate.md").read_text()


def test_runs_from_before_the_setting_are_those_of_its_default(again, done, capsys):
    """Their records have no such names: neither runs nor gates are of something else."""
    settings = read_json(next(done.glob("*/bge_m3/runs/dense/sw.json")))["settings"]
    assert {*settings} == {"_target_", "depth", "exclude_self"}
    again("search", SW, "retriever=[dense]", "retriever.dense.engine=exact")
    assert "found finished" in capsys.readouterr().out
    again("search", SW, "retriever=[dense]", IVF)
    assert "written" in capsys.readouterr().out


def test_stage_1_gives_equal_bytes_for_any_threads_and_no_part_of_a_corpus(again):
    words = ("search", SW, "retriever=[dense]", IVF)
    run = again(*words) / "runs/dense/sw.trec"
    first = run.read_bytes()
    for threads in (1, 2):
        shutil.rmtree(run.parent)
        again(*words, f"runtime.threads={threads}")
        assert run.read_bytes() == first
    shutil.rmtree(run.parent)
    with pytest.raises(UserError, match="none of dense searches a part of a corpus by itself"):
        again(*words, "runtime.share=0/2")
    again(*words, "runtime.processes=2")
    assert run.read_bytes() == first


def test_a_corpus_that_is_too_small_is_refused(again):
    with pytest.raises(UserError, match="the corpus has 5: set retriever.dense.engine=exact"):
        again("search", "languages=[yo]", IVF)
