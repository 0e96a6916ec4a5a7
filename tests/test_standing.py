"""A narrower stage 2 takes nothing away that stands in the tables, and says what cannot stay."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from m3eval.errors import UserError
from m3eval.files import write_json
from m3eval.manifests import Result
from m3eval.records import plain, read
from m3eval.seals import sealed


def result(folder: Path) -> Result:
    return read(folder / "scores/scores.json", Result)


@pytest.mark.parametrize(
    "narrower",
    [
        "retriever=[dense]",
        "languages=[sw]",
        "benchmark.metrics=[R@100]",
        "retriever=[sparse] languages=[yo] benchmark.metrics=[R@100]",
    ],
)
def test_a_narrower_stage_2_leaves_the_tables_as_they_were(again, narrower, capsys):
    folder = again("evaluate")
    before = {path.name: path.read_bytes() for path in (folder / "scores").iterdir()}
    again("evaluate", *narrower.split())
    for name, content in before.items():
        after = (folder / "scores" / name).read_bytes()
        if name != "scores.json":
            assert after == content, name
    assert result(folder).scores == json.loads(before["scores.json"])["scores"]
    assert ("for they stand in the tables" in capsys.readouterr().out) is (narrower[0] != "b")


def test_the_configuration_of_what_stays_is_recorded_with_it(again):
    config = result(again("evaluate")).provenance.config
    narrower = result(again("evaluate", "retriever=[sparse]", "languages=[yo]")).provenance
    for setting in ("retriever", "languages", "benchmark"):
        assert narrower.config[setting] == config[setting], setting
    assert {*narrower.texts} == {"corpus-sw", "queries-sw", "corpus-yo", "queries-yo"}


def test_overwrite_leaves_what_is_asked_for_and_nothing_else(again):
    folder = again("evaluate", "retriever=[dense]", "languages=[sw]", "overwrite=true")
    assert result(folder).scores["nDCG@10"] == {
        "dense": {"sw": pytest.approx(result(folder).scores["nDCG@10"]["dense"]["sw"])}
    }


def test_a_new_column_stands_beside_the_old_and_where_there_is_no_run_there_is_no_average(
    again, capsys
):
    again("search", "retriever=[dense,multi_vector]", "languages=[sw]")
    folder = again("evaluate", "retriever=[dense,multi_vector]", "languages=[sw]")
    scores = result(folder).scores["nDCG@10"]
    assert list(scores) == ["dense", "sparse", "dense_sparse", "multi_vector"]
    assert scores["multi_vector"]["sw"] is not None
    assert scores["multi_vector"]["yo"] is None and scores["multi_vector"]["average"] is None
    assert scores["sparse"]["average"] == pytest.approx(
        (scores["sparse"]["sw"] + scores["sparse"]["yo"]) / 2, abs=1e-3
    )
    for text in (capsys.readouterr().out, (folder / "scores/scores.md").read_text()):
        assert "not evaluated, and so no average: multi_vector yo" in " ".join(text.split())
    rows = list(csv.DictReader((folder / "scores/scores.csv").open()))
    assert [row["multi_vector"] == "" for row in rows[:3]] == [False, True, True]
    assert not any(math.isnan(value or 0) for value in scores["multi_vector"].values())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "runs/sparse/yo.trec").write_text(""), "yo.trec is damaged"),
        (lambda folder: (folder / "runs/sparse/yo.json").unlink(), "yo.trec does not exist"),
    ],
)
def test_a_cell_whose_run_is_no_longer_what_was_scored_is_left_out(again, spoil, why, capsys):
    folder = again("evaluate")
    spoil(folder)
    capsys.readouterr()
    again("evaluate", "retriever=[dense]")
    out = " ".join(capsys.readouterr().out.split())
    assert "left out of the tables: sparse, yo: " in out and why in out
    scores = result(folder).scores["nDCG@10"]
    assert scores["sparse"]["sw"] is not None and scores["sparse"]["yo"] is None
    with pytest.raises(UserError, match=why):  # what is asked for is never left out
        again("evaluate", "retriever=[dense,sparse]")


def test_a_run_that_was_made_otherwise_since_is_left_out(again, capsys):
    again("search", "retriever=[dense,sparse]", "retriever.sparse.depth=5")
    folder = again("evaluate", "retriever=[dense]")
    assert "sparse, sw: The run" in capsys.readouterr().out
    assert list(result(folder).scores["nDCG@10"]) == ["dense", "dense_sparse"]


def test_other_rules_leave_nothing_that_is_not_asked_for(again, capsys):
    folder = again("evaluate", "retriever=[dense]", "benchmark.subset=true")
    assert len(result(folder).scores["nDCG@10"]) == 3
    again("search", "retriever=[dense]", "benchmark.retrieval.depth=500")
    capsys.readouterr()
    again("evaluate", "retriever=[dense]", "benchmark.retrieval.depth=500")
    out = " ".join(capsys.readouterr().out.split())
    assert "scored by other rules: retrieval.depth: 1000 there, 500 now" in out
    assert list(result(folder).scores["nDCG@10"]) == ["dense"]


def test_a_table_without_a_seal_or_edited_is_not_taken_over(again, capsys):
    folder = again("evaluate")
    path = folder / "scores/scores.json"
    content = plain(result(folder)) | {"title": "edited"}
    for spoilt, why in (
        (content, "scores.json is damaged"),
        ({key: value for key, value in content.items() if key != "sealed"}, "is not sealed"),
    ):
        path.write_text(json.dumps(spoilt))
        capsys.readouterr()
        again("evaluate", "retriever=[dense]")
        assert why in " ".join(capsys.readouterr().out.split())
        assert list(result(folder).scores["nDCG@10"]) == ["dense"]


def test_nobodys_code_is_imported_because_a_table_names_it(again, capsys):
    """A table that somebody else made may name anything as a retriever."""
    folder = again("evaluate")
    made = plain(result(folder))
    made["provenance"]["config"]["retriever"]["sparse"]["_target_"] = "antigravity.fly"
    write_json(folder / "scores/scores.json", sealed(made))
    again("evaluate", "retriever=[dense]")
    said = " ".join(capsys.readouterr().out.split())
    assert "antigravity.fly, which no retriever of m3eval is" in said
    assert "sparse" not in result(folder).scores["nDCG@10"]
