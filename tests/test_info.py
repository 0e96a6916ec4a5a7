"""All that the stages leave is described: what it is, whether it is finished, what it cost."""

import json

import pytest

from m3eval.__main__ import main
from m3eval.console import console
from m3eval.files import write_json
from m3eval.retrievers.run import read_run


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
    line = next(
        line
        for line in out.splitlines()
        if line.startswith("│") and line.split("│")[1].strip() == first
    )
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_a_store(pipeline, described):
    folder = pipeline("embed")
    out = described(folder / "stores/corpus-sw")
    manifest = json.loads((folder / "stores/corpus-sw/manifest.json").read_text())
    for part in (
        "state      finished",
        "texts      60 of miracl dev, corpus-sw",
        "at most 128 tokens; sha256 " + manifest["plan"]["texts"]["sha256"],
        "title + text, joined by '\\n', normalised: none",
        "encoder    bge_m3:",
        f"tokens     {manifest['totals']['tokens']:,}",
        "4 texts were cut",
        "cost       ",
    ):
        assert part in out, part
    dense = next(line for line in out.splitlines() if line.endswith("dense"))
    assert dense.split()[-5:] == [
        "66",
        "bytes",
        "a",
        "text",
        "dense",
    ]  # 32 float16 and a 60th of the file's 128 bytes of header
    assert "tokens/s on CPU, fp32" in out  # as stage 0 measured it
    write_json(
        folder / "stores/corpus-sw/cost.json", {"tokens": 5000, "seconds": 2.5, "runtime": "abacus"}
    )
    assert "cost       2.5 s, 2,000 tokens/s on abacus" in described(folder / "stores/corpus-sw")


def test_a_half_written_store(pipeline, described):
    folder = pipeline("embed")
    store = folder / "stores/corpus-sw"
    (store / "plan.json").write_text(
        json.dumps(json.loads((store / "manifest.json").read_text())["plan"])
    )
    (store / "manifest.json").unlink()
    assert "half-written: 1 shards; run `m3eval embed` again" in described(store)
    assert row(described(folder), "corpus-sw")[:3] == ["half-written", "60", "-"]


def test_a_run(pipeline, described):
    folder = pipeline()
    for path in ("runs/all/sw.trec", "runs/all/sw.json"):
        out = described(folder / path)
        assert (
            "state      finished" in out
            and "retriever all" in out
            and "built on   multi_vector" in out
        )
        assert "'sparse': 0.3" in out and "corpus-sw: 60, dev, at most 128 tokens" in out
    (folder / "runs/all/sw.json").unlink()
    assert "not finished" in described(folder / "runs/all/sw.trec")


def test_everything(pipeline, described):
    folder = pipeline("languages=[sw,yo]")
    write_json(
        folder / "runs/dense/sw.cost.json", {"queries": 9, "seconds": 0.9, "runtime": "abacus"}
    )
    write_json(
        folder / "runs/dense/yo.cost.json", {"queries": 1, "seconds": 0.6, "runtime": "abacus"}
    )
    out = described(folder, "documents=true")
    assert row(out, "corpus-yo")[:2] == ["finished", "5"]
    assert row(out, "dense")[:4] == ["2", "14", "0", "565"] and row(out, "dense")[5:] == [
        "0.15",
        "abacus",
    ]
    (folder / "runs/sparse/sw.cost.json").unlink()
    (folder / "runs/sparse/yo.cost.json").unlink()
    assert row(described(folder), "sparse")[5:] == ["-", "-"]
    assert (
        "nDCG@10 x 100 by length of queries in characters, thirds within each language, "
        "means over 2 languages" in out
    )
    assert (
        "by length of relevant documents" in out
        and "by length of relevant documents" not in described(folder)
    )
    assert "title      MIRACL (dev, subset" in out
    runs = {name: read_run(folder / f"runs/{name}/yo.trec") for name in ("dense", "sparse")}
    tops = [
        [runs[name][qid].docids[:10] if qid in runs[name] else [] for name in runs]
        for qid in runs["dense"]
    ]
    expected = sum(len({*one} & {*other}) / max(len(one), len(other)) for one, other in tops) / len(
        tops
    )
    alone = described(folder / "runs")
    assert row(alone, "dense and sparse")[0] != "" and "result " not in alone
    for name in ("dense", "sparse"):
        (folder / f"runs/{name}/sw.json").unlink()  # what is not finished counts for nothing
    assert row(described(folder / "runs"), "dense and sparse")[0] == f"{expected:.3f}"


def test_quality_by_length_adds_up(pipeline, described):
    """Nine queries in thirds of three: their mean is the score."""
    folder = pipeline("retriever=[dense]")
    out = described(folder / "runs/dense")
    scores = json.loads((folder / "scores/scores.json").read_text())["scores"]["nDCG@10"]["dense"][
        "sw"
    ]
    found = [line for line in out.splitlines() if line.startswith("│ dense")][-1]
    thirds = [float(cell) for cell in found.split("│")[2:-1]]
    assert sum(thirds) / 3 == pytest.approx(scores, abs=0.06)


def test_what_needs_judgements_says_why_it_is_missing(pipeline, described):
    folder = pipeline("embed", "search")
    out = described(folder)
    assert (
        "Not shown, for they need judgements" in out
        and "run `m3eval evaluate`" in out
        and "unjudged@10" not in out
    )
    pipeline("evaluate")
    assert "unjudged@10" in described(folder) and "Not shown" not in described(folder)
    scores = folder / "scores/scores.json"
    scores.write_text(
        scores.read_text().replace('"max_document_length": 128', '"max_document_length": 64')
    )
    assert (
        "the runs are of other texts than scores/scores.json: texts.corpus-sw.max_length"
        in described(folder)
    )


def test_anything_else_is_refused(tmp_path, described, capsys):
    assert main(["info", str(tmp_path)]) == 2
    assert "is no store, run or result of m3eval" in capsys.readouterr().out
