"""`m3eval export`: other tools read what it writes, with their own readers, and see our numbers."""

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from m3eval import records
from m3eval.__main__ import main
from m3eval.benchmarks.languages import with_script
from m3eval.reports.exports.source import metric_elsewhere
from m3eval.reports.results import read_scores
from tests.needs import imported, needs_program

SYSTEMS = {"bge_m3/dense", "bge_m3/sparse", "bge_m3/dense_sparse", "theirs"}


@pytest.fixture
def scored(foreign):
    """Where a foreign run stands in the tables beside three of ours: the layout."""
    _, layout, words = foreign
    given = ["languages=[sw,yo]", "run={language}.json", "name=theirs"]
    assert main(["import-run", *words, *given]) == 0
    return layout


def exported(form, layout, *words):
    assert main(["export", form, str(layout.folder), "out=out", *words]) == 0


def retriever(system):
    return system.rpartition("/")[2]


def test_mteb_reads_its_results(scored, tmp_path, capsys):
    reader = imported("mteb.results")
    exported("mteb", scored, "task=MIRACLRetrieval")
    assert "made elsewhere, not by m3eval: theirs" in capsys.readouterr().out
    expected = read_scores(scored.scores.json).scores["nDCG@10"]
    seen = set()
    for path in (tmp_path / "out/results").glob("*/*/MIRACLRetrieval.json"):
        system = path.parents[1].name.replace("__", "/")
        seen.add(system)
        result = reader.TaskResult.from_disk(path, load_historic_data=False)
        assert result.task_name == "MIRACLRetrieval" and {*result.languages} == {"swa", "yor"}
        for language, code in (("sw", "swa"), ("yo", "yor")):
            score = result.get_score(splits=["dev"], languages=[code])
            assert 100 * score == pytest.approx(expected[retriever(system)][language], abs=1e-3)
        (first, _) = result.scores["dev"]
        assert first["ndcg_at_10"] == first["main_score"] and "recall_at_100" in first
    assert seen == SYSTEMS
    assert [path.name for path in (tmp_path / "out/results/theirs").iterdir()] == ["made-elsewhere"]


def test_mteb_s_cache_has_all_systems(scored, tmp_path):
    cache = imported("mteb.cache").ResultCache(cache_path=tmp_path / "out")
    exported("mteb", scored)
    loaded = cache.load_results(require_model_meta=False, include_remote=False)
    assert {model.model_name for model in loaded.model_results} == SYSTEMS


def test_the_results_have_the_published_shape(scored, tmp_path):
    """The same as mteb's reader asks for, for machines without mteb."""
    exported("mteb", scored)
    paths = [*(tmp_path / "out/results").glob("*/*/*.json")]
    assert len(paths) == len(SYSTEMS)
    for path in paths:
        content = json.loads(path.read_text())
        texts = {"dataset_revision", "task_name"}
        numbers = {"evaluation_time", "kg_co2_emissions"}
        assert texts | numbers | {"mteb_version", "scores"} <= content.keys()
        assert all(isinstance(content[key], str) and content[key] for key in texts)
        for entries in content["scores"].values():
            for entry in entries:
                assert isinstance(entry["hf_subset"], str)
                assert all(re.fullmatch("[a-z]{3}-[A-Z][a-z]{3}", it) for it in entry["languages"])
                assert 0 <= entry["main_score"] <= 1


def test_the_hub_reads_the_card(scored, tmp_path, capsys):
    exported("model-card", scored)
    assert "left out, for a card is about an encoder: theirs" in capsys.readouterr().out
    path = tmp_path / "out/model-card.md"
    name, results = model_index_to_eval_results(metadata_load(path)["model-index"])
    assert name == "bge_m3" == ModelCard.load(path).data.model_name
    scores = read_scores(scored.scores.json).scores
    assert len(results) == len(scores) * 3 * 2
    for each in results:
        metric, ours = each.metric_name.split(", ")
        assert each.metric_type == metric_elsewhere(metric) and each.task_type == "retrieval"
        assert each.dataset_split == "dev"
        expected = scores[metric][ours][each.dataset_config]
        assert 100 * each.metric_value == pytest.approx(expected, abs=1e-3)


def test_ranx_computes_the_same(scored, tmp_path):
    ranx = imported("ranx")
    exported("ranx", scored)
    expected = read_scores(scored.scores.json).scores
    for language in ("sw", "yo"):
        folder = tmp_path / "out" / language
        qrels = ranx.Qrels.from_file(str(folder / "qrels.json"), kind="json")
        paths = {path.stem.replace("__", "/"): path for path in folder.iterdir()}
        assert paths.keys() == SYSTEMS | {"qrels"}
        for system in SYSTEMS:
            run = ranx.Run.from_file(str(paths[system]), kind="json")
            scores = ranx.evaluate(qrels, run, ["ndcg@10", "recall@100"], make_comparable=True)
            for theirs, ours in (("ndcg@10", "nDCG@10"), ("recall@100", "R@100")):
                mean = expected[ours][retriever(system)][language]
                assert 100 * scores[theirs] == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize(
    ("form", "read"), [("parquet", pd.read_parquet), ("csv", pd.read_csv)], ids=["parquet", "csv"]
)
def test_pandas_reads_the_scores_of_single_queries(scored, tmp_path, form, read):
    exported(form, scored)
    frame = read(tmp_path / f"out/per_query.{form}")
    assert {*frame["system"]} == SYSTEMS and {*frame["benchmark"]} == {"miracl"}
    assert frame["made_elsewhere"].dtype == bool
    assert {*frame[frame["made_elsewhere"]]["system"]} == {"theirs"}
    means = frame.groupby(["metric", "system", "language"])["score"].mean()
    expected = read_scores(scored.scores.json).scores
    assert len(means) == len(expected) * 4 * 2
    for (metric, system, language), mean in means.items():
        assert 100 * mean == pytest.approx(expected[metric][retriever(system)][language], abs=1e-3)
    assert not np.isnan(frame["score"]).any()


def test_the_table_for_papers_has_every_score(scored, tmp_path):
    exported("latex", scored)
    text = (tmp_path / "out/scores.tex").read_text()
    assert "theirs was made elsewhere" in text
    scores = read_scores(scored.scores.json).scores
    for metric, by_retriever in scores.items():
        (row,) = re.findall(
            rf"caption{{{re.escape(metric)} x 100.*?^average & (.*?) \\\\", text, re.S | re.M
        )
        assert row.split(" & ") == [f"{of['average']:.1f}" for of in by_retriever.values()]


@needs_program("pdflatex", "apt-get install texlive-latex-recommended")
def test_latex_sets_the_table(scored, tmp_path):
    exported("latex", scored)
    (tmp_path / "out/paper.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}"
        r"\begin{document}\input{scores}\end{document}"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    made = subprocess.run(words, cwd=tmp_path / "out", capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-2000:]


def test_a_file_or_a_published_folder_will_do(scored, tmp_path):
    published = shutil.copytree(scored.scores.folder, tmp_path / "mine")
    for path in (published, published / "scores.json"):
        assert main(["export", "csv", str(path), f"out={tmp_path / path.name}.out"]) == 0
    tables = [tmp_path / f"{name}.out/per_query.csv" for name in ("mine", "scores.json")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert len(list(csv.DictReader(tables[0].open()))) == 2 * 4 * 14


def test_what_was_edited_is_not_exported(scored, tmp_path, capsys):
    path = scored.scores.per_query
    path.write_text(path.read_text().replace("0", "1"))
    assert main(["export", "csv", str(scored.folder), "out=out"]) == 2
    scored.scores.json.write_text(scored.scores.json.read_text().replace("1", "2"))
    assert main(["export", "mteb", str(scored.folder), "out=out"]) == 2
    assert not (tmp_path / "out").exists()
    trec = scored.run("theirs", "sw").trec
    trec.write_text(trec.read_text().replace("1", "2"))
    assert main(["export", "ranx", str(scored.folder), "out=out"]) == 2
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mteb"], "path="),
        (["bibtex", "."], "takes mteb, model-card, ranx, parquet, csv or latex"),
        (["mteb", "nowhere"], "nowhere has no result: give a folder with a scores.json"),
        (["csv", "nowhere", "task=x"], "only the format mteb has a task"),
        (["ranx", "mine"], "has no runs beside it: give outputs/BENCHMARK/ENCODER"),
        (["parquet", "bare"], "per_query.csv does not exist"),
        (["model-card", "foreign"], "no system of this result has an encoder"),
    ],
)
def test_mistakes_are_said(scored, tmp_path, capsys, words, said):
    shutil.copytree(scored.scores.folder, tmp_path / "mine")
    for name in ("bare", "foreign"):
        (tmp_path / name).mkdir()
        shutil.copy(scored.scores.json, tmp_path / name)
    result = read_scores(tmp_path / "foreign/scores.json")
    only = {metric: {"theirs": of["theirs"]} for metric, of in result.scores.items()}
    records.write(tmp_path / "foreign/scores.json", replace(result, scores=only))
    capsys.readouterr()
    assert main(["export", *words]) == 2
    out = capsys.readouterr().out
    assert said in out and "Traceback" not in out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ko", "kor-Hang"),
        ("korean", "kor-Hang"),
        ("zh", "zho-Hans"),
        ("zh-Hant", "zho-Hant"),
        ("fa", "fas-Arab"),
        ("sw", "swa-Latn"),
        ("acm_Arab", "acm-Arab"),
        ("mine", "und"),
    ],
)
def test_languages_are_written_as_mteb_does(name, expected):
    assert with_script(name) == expected
