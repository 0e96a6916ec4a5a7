"""All that the stages leave is described: what it is, whether it is finished, what it cost."""

import json

import pytest

from m3eval.__main__ import main
from m3eval.console import console
from m3eval.files import read_json, write_json
from m3eval.manifests import Result
from m3eval.records import read
from m3eval.retrievers.run import read_run
from m3eval.seals import sealed


@pytest.fixture
def described(monkeypatch, capsys):
    monkeypatch.setattr(console, "_width", 200)

    def describe(path, *words):
        capsys.readouterr()
        assert main(["info", str(path), *words]) == 0
        return capsys.readouterr().out

    return describe


def row(out, first):
    """The cells of a table's row."""
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    return next([cell.strip() for cell in cells] for name, *cells in rows if name.strip() == first)


def test_a_store(pipeline, described):
    folder = pipeline("embed")
    out = described(folder / "stores/corpus-sw")
    manifest = json.loads((folder / "stores/corpus-sw/manifest.json").read_text())
    for part in (
        "state      finished",
        "texts      60 of miracl dev, corpus-sw",
        "at most 128 tokens; sum " + manifest["plan"]["texts"]["sum"],
        "title + text, joined by '\\n', normalised: none",
        "encoder    bge_m3:",
        f"tokens     {manifest['totals']['tokens']:,}",
        "4 texts were cut",
        "cost       ",
    ):
        assert part in out, part
    # 32 float16, and a 60th of the file's 128 bytes of header.
    dense = next(line for line in out.splitlines() if line.endswith("dense"))
    assert dense.endswith(" 66 bytes a text  dense")
    assert "tokens/s on CPU, fp32" in out  # as stage 0 measured it
    assert "tokens a pack, attention equal_runs\n" in out
    cost = {"tokens": 5000, "seconds": 2.5, "runtime": "abacus"}  # as earlier versions wrote it
    write_json(folder / "stores/corpus-sw/cost.json", cost)
    assert "cost       2.5 s, 2,000 tokens/s on abacus" in described(folder / "stores/corpus-sw")


def test_a_half_written_store(pipeline, described):
    folder = pipeline("embed")
    store = folder / "stores/corpus-sw"
    manifest = json.loads((store / "manifest.json").read_text())
    write_json(store / "plan.json", manifest["plan"])
    (store / "manifest.json").unlink()
    assert "half-written: 1 shards; run `m3eval embed` again" in described(store)
    assert row(described(folder), "corpus-sw")[:3] == ["half-written", "60", "-"]


def test_a_run(pipeline, described):
    folder = pipeline()
    for path in ("runs/all/sw.trec", "runs/all/sw.json"):
        out = described(folder / path)
        for part in (
            "state      finished",
            "retriever all",
            "built on   multi_vector",
            "'sparse': 0.3",
            "corpus-sw: 60, dev, at most 128 tokens",
        ):
            assert part in out, part
    (folder / "runs/all/sw.json").unlink()
    assert "not finished" in described(folder / "runs/all/sw.trec")


def test_everything(pipeline, described):
    folder = pipeline("languages=[sw,yo]")
    for language, queries, seconds in (("sw", 9, 0.9), ("yo", 1, 0.6)):
        cost = {"queries": queries, "seconds": seconds, "runtime": "abacus"}
        write_json(folder / f"runs/dense/{language}.cost.json", cost)
    out = described(folder, "documents=true")
    assert row(out, "corpus-yo")[:2] == ["finished", "5"]
    assert row(out, "dense")[:4] == ["2", "14", "0", "565"]
    assert row(out, "dense")[5:] == ["0.15", "abacus"]
    for language in ("sw", "yo"):
        (folder / f"runs/sparse/{language}.cost.json").unlink()
    without_documents = described(folder)
    assert row(without_documents, "sparse")[5:] == ["-", "-"]
    title = (
        "nDCG@10 x 100 by length of queries in characters, thirds within each language, "
        "means over 2 languages"
    )
    assert title in out
    assert "by length of relevant documents" in out
    assert "by length of relevant documents" not in without_documents
    assert "title      MIRACL (dev, subset" in out


def test_what_two_retrievers_share_is_told_of_finished_runs(pipeline, described):
    folder = pipeline("languages=[sw,yo]", "retriever=[dense,sparse]")
    out = described(folder / "runs")
    assert row(out, "dense and sparse")[0] != ""
    assert "result " not in out
    runs = [read_run(folder / f"runs/{name}/yo.trec") for name in ("dense", "sparse")]
    overlaps = []
    for qid in runs[0]:
        dense, sparse = (run[qid].docids[:10] if qid in run else [] for run in runs)
        overlaps.append(len({*dense} & {*sparse}) / max(len(dense), len(sparse)))
    for name in ("dense", "sparse"):
        (folder / f"runs/{name}/sw.json").unlink()  # what is not finished counts for nothing
    mean = f"{sum(overlaps) / len(overlaps):.3f}"
    assert row(described(folder / "runs"), "dense and sparse")[0] == mean


def test_quality_by_length_adds_up(pipeline, described):
    """Nine queries in thirds of three: their mean is the score."""
    folder = pipeline("retriever=[dense]")
    by_length = described(folder / "runs/dense").partition("by length of queries")[2]
    score = read(folder / "scores/scores.json", Result).scores["nDCG@10"]["dense"]["sw"]
    thirds = [float(cell) for cell in row(by_length, "dense")]
    assert sum(thirds) / 3 == pytest.approx(score, abs=0.06)


def test_what_needs_judgements_says_why_it_is_missing(pipeline, described):
    folder = pipeline("embed", "search")
    out = described(folder)
    assert "Not shown, for they need judgements" in out
    assert "run `m3eval evaluate`" in out
    assert "unjudged@10" not in out
    pipeline("evaluate")
    out = described(folder)
    assert "unjudged@10" in out
    assert "Not shown" not in out
    scores = folder / "scores/scores.json"
    content = read_json(scores)
    content["provenance"]["config"]["benchmark"]["text"]["max_document_length"] = 64
    write_json(scores, sealed(content))
    why = "the runs are of other texts than scores/scores.json: texts.corpus-sw.max_length"
    assert why in described(folder)


def test_a_score_that_there_is_not_is_a_dash(pipeline, described):
    folder = pipeline("retriever=[dense]")
    path = folder / "scores/scores.json"
    content = read_json(path)
    content["scores"]["nDCG@10"]["dense"] = {"sw": None}
    content["scores"]["R@100"]["dense"] = {}
    write_json(path, sealed(content))
    out = described(folder / "scores")
    assert "nDCG@10    dense –" in out and "R@100      dense –" in out


def test_anything_else_is_refused(tmp_path, described, capsys):
    assert main(["info", str(tmp_path)]) == 2
    assert "is no store, run or result of m3eval" in capsys.readouterr().out
