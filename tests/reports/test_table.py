"""Tables: means over judged queries x 100, an average over languages, one number in every file."""

import csv
import json

import pytest

from m3eval.layout import ScoreFiles
from m3eval.reading import Heading, Reading
from m3eval.reports.distance import PublishedSystems
from m3eval.reports.table import ScoreTable, show, write
from tests.records import provenance, run_manifest

PER_QUERY = {
    ("dense", "ko"): {"nDCG@10": {"1": 1.0, "2": 0.0, "3": 0.5}},
    ("dense", "fa"): {"nDCG@10": {"1": 0.25}},
    ("all", "ko"): {"nDCG@10": {"1": 1.0, "2": 1.0, "3": 0.0}},
    ("all", "fa"): {"nDCG@10": {"1": 0.125}},
}
HEADING = Heading("MIRACL", "dev", False, False, None)
TITLE = "MIRACL (dev, 512/512 tokens)"


def report(languages=("ko", "fa"), retrievers=("dense", "all"), per_query=PER_QUERY, **more):
    return ScoreTable(
        heading=HEADING,
        reading=Reading(512, 512),
        encoder="BGE-M3",
        metrics=["nDCG@10"],
        languages=list(languages),
        retrievers=list(retrievers),
        per_query=per_query,
        provenance=provenance(x=1),
        **more,
    )


REPORT = report()


def test_scores():
    frame = REPORT.scores("nDCG@10")
    assert list(frame.index) == ["ko", "fa", "average"] and list(frame.columns) == ["dense", "all"]
    assert frame.loc["ko", "dense"] == pytest.approx(50) and frame.loc[
        "average", "dense"
    ] == pytest.approx(37.5)
    assert frame.loc["average", "all"] == pytest.approx(
        (200 / 3 + 12.5) / 2
    )  # languages weigh alike
    assert REPORT.judged == {"ko": 3, "fa": 1}


def test_one_language_needs_no_average():
    one = report(["ko"], ["dense"])
    assert list(one.scores("nDCG@10").index) == ["ko"]


def test_every_file_has_the_same_numbers(tmp_path, capsys):
    paths = {path.name: path for path in write(REPORT, ScoreFiles(tmp_path))}
    assert set(paths) == {"scores.md", "scores.csv", "scores.json", "per_query.csv"}
    markdown = paths["scores.md"].read_text()
    assert f"### nDCG@10 x 100 · {TITLE} · BGE-M3" in markdown
    assert "| ko | 3 | 50.0 | 66.7 |" in markdown and "| average |  | 37.5 | 39.6 |" in markdown
    rows = list(csv.DictReader(paths["scores.csv"].open()))
    assert rows[0] == {"metric": "nDCG@10", "language": "ko", "dense": "50.0000", "all": "66.6667"}
    found = json.loads(paths["scores.json"].read_text())
    assert found["scores"]["nDCG@10"]["all"] == {"ko": 66.6667, "fa": 12.5, "average": 39.5833}
    assert found["provenance"]["config"] == {"x": 1} and found["unit"].startswith("x 100")
    per_query = list(csv.DictReader(paths["per_query.csv"].open()))
    assert len(per_query) == 8 and per_query[2] == {
        "retriever": "dense",
        "language": "ko",
        "qid": "3",
        "nDCG@10": "0.5",
    }
    show(REPORT)
    out = capsys.readouterr().out
    assert "nDCG@10 x 100" in out and "37.5" in out and "39.6" in out


def published_report(general=()):
    manifests = {
        ("dense", name): run_manifest("dense", name, encoder=None) for name in ("ko", "fa")
    }
    per_query = {
        ("dense", "ko"): {"nDCG@10": {"1": 0.70}},
        ("dense", "fa"): {"nDCG@10": {"1": 0.5}},
    }
    published = PublishedSystems("miracl", {"dense": "M3 Dense"}, 0.3, manifests, None, general, {})
    return report(retrievers=["dense"], per_query=per_query, published=published)


def test_distances_stand_in_every_file(tmp_path, capsys):
    paths = {path.name: path for path in write(published_report(), ScoreFiles(tmp_path))}
    markdown = paths["scores.md"].read_text()
    assert "| ko | 1 | 70.0 (+0.1) |" in markdown and "| fa | 1 | 50.0 (-10.9)! |" in markdown
    assert "| average |  | 60.0 [69.2] |" in markdown and "average over 2 languages" in markdown
    assert (
        "2 of 18 published numbers (M3 Table 1) covered: 1 reproduced within 0.3 points, 1 differ"
        in markdown
    )
    ko, fa, average = csv.DictReader(paths["scores.csv"].open())
    assert (ko["dense.reference"], ko["dense.delta"], ko["dense.verdict"]) == (
        "69.9000",
        "0.1000",
        "reproduced",
    )
    assert fa["dense.verdict"] == "differs" and average["dense.verdict"].startswith(
        "not comparable: average"
    )
    found = json.loads(paths["scores.json"].read_text())
    assert found["distances"]["nDCG@10"][0] == {
        "language": "ko",
        "retriever": "dense",
        "table": "M3 Table 1",
        "reference": 69.9,
        "delta": 0.1,
        "verdict": "reproduced",
    }
    assert found["coverage"].startswith("2 of 18")
    show(published_report())
    out = capsys.readouterr().out
    assert "70.0 (+0.1)" in out and "60.0 [69.2]" in out and "2 of 18 published" in out


def test_another_encoder_is_never_called_reproduced(tmp_path):
    paths = {
        path.name: path
        for path in write(published_report(["another encoder"]), ScoreFiles(tmp_path))
    }
    assert "| ko | 1 | 70.0 [69.9] |" in paths["scores.md"].read_text()
    assert "reproduced" not in paths["scores.csv"].read_text()
    assert "0 of 18 published numbers" in paths["scores.md"].read_text()
