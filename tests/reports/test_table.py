"""Tables: means over judged queries x 100, an average over languages, one number in every file."""

import csv
import json

import pytest

from m3eval.layout import ScoreFiles
from m3eval.manifests import Result
from m3eval.reading import Heading, Reading
from m3eval.records import read
from m3eval.reports.distance import PublishedSystems
from m3eval.reports.table import ScoreTable
from m3eval.reports.table_files import show, write
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
    assert list(frame.index) == ["ko", "fa", "average"]
    assert list(frame.columns) == ["dense", "all"]
    assert frame.loc["ko", "dense"] == pytest.approx(50)
    assert frame.loc["average", "dense"] == pytest.approx(37.5)
    # Languages weigh alike, whatever the number of their queries.
    assert frame.loc["average", "all"] == pytest.approx((200 / 3 + 12.5) / 2)
    assert REPORT.judged == {"ko": 3, "fa": 1}


def test_one_language_needs_no_average():
    korean = report(["ko"], ["dense"])
    assert list(korean.scores("nDCG@10").index) == ["ko"]


def test_every_file_has_the_same_numbers(tmp_path, capsys):
    paths = {path.name: path for path in write(REPORT, ScoreFiles(tmp_path))}
    assert set(paths) == {"scores.md", "scores.csv", "scores.json", "per_query.csv"}
    markdown = paths["scores.md"].read_text()
    assert f"### nDCG@10 x 100 · {TITLE} · BGE-M3" in markdown
    assert "| ko | 3 | 50.0 | 66.7 |" in markdown
    assert "| average |  | 37.5 | 39.6 |" in markdown
    rows = list(csv.DictReader(paths["scores.csv"].open()))
    assert rows[0] == {"metric": "nDCG@10", "language": "ko", "dense": "50.0000", "all": "66.6667"}
    result = json.loads(paths["scores.json"].read_text())
    assert result["scores"]["nDCG@10"]["all"] == {"ko": 66.6667, "fa": 12.5, "average": 39.5833}
    assert result["provenance"]["config"] == {"x": 1}
    assert result["unit"].startswith("x 100")
    per_query = paths["per_query.csv"].read_text().splitlines()
    assert len(per_query) == 1 + 8
    assert per_query[0] == "retriever,language,qid,nDCG@10"
    assert per_query[3] == "dense,ko,3,0.5"
    show(REPORT)
    out = capsys.readouterr().out
    assert all(part in out for part in ("nDCG@10 x 100", "37.5", "39.6"))


# Two languages of the paper's dense system; one is near the published number, one is not.
PUBLISHED = {
    ("dense", "ko"): {"nDCG@10": {"1": 0.70}},
    ("dense", "fa"): {"nDCG@10": {"1": 0.5}},
}


def published_report(general=(), per_query=PUBLISHED):
    manifests = {key: run_manifest(*key, encoder=None) for key in per_query}
    published = PublishedSystems("miracl", {"dense": "M3 Dense"}, 0.3, manifests, None, general, {})
    return report(retrievers=["dense"], per_query=per_query, published=published)


def test_distances_stand_in_every_file(tmp_path, capsys):
    paths = {path.name: path for path in write(published_report(), ScoreFiles(tmp_path))}
    markdown = paths["scores.md"].read_text()
    for part in (
        "| ko | 1 | 70.0 (+0.1) |",
        "| fa | 1 | 50.0 (-10.9)! |",
        "| average |  | 60.0 [69.2] |",
        "average over 2 languages",
        "2 of 18 published numbers (M3 Table 1) covered: 1 reproduced within 0.3 points, 1 differ",
    ):
        assert part in markdown, part
    ko, fa, average = csv.DictReader(paths["scores.csv"].open())
    beside = [ko[f"dense.{column}"] for column in ("reference", "delta", "verdict")]
    assert beside == ["69.9000", "0.1000", "reproduced"]
    assert fa["dense.verdict"] == "differs"
    assert average["dense.verdict"].startswith("not comparable: average")
    result = json.loads(paths["scores.json"].read_text())
    assert result["distances"]["nDCG@10"][0] == {
        "language": "ko",
        "retriever": "dense",
        "table": "M3 Table 1",
        "reference": 69.9,
        "delta": 0.1,
        "verdict": "reproduced",
    }
    assert result["coverage"].startswith("2 of 18")
    show(published_report())
    out = capsys.readouterr().out
    assert all(part in out for part in ("70.0 (+0.1)", "60.0 [69.2]", "2 of 18 published"))


def test_another_encoder_is_never_called_reproduced(tmp_path):
    files = ScoreFiles(tmp_path)
    write(published_report(["another encoder"]), files)
    markdown = files.markdown.read_text()
    assert "| ko | 1 | 70.0 [69.9] |" in markdown
    assert "0 of 18 published numbers" in markdown
    assert "reproduced" not in files.csv.read_text()


def test_a_language_without_a_value_has_no_average(tmp_path, capsys):
    """A mean over the rest would look like one over all; and JSON has no nan."""
    per_query = PER_QUERY | {("dense", "fa"): {"nDCG@10": {}}}
    emptied = report(per_query=per_query, retrievers=["all", "dense"])
    files = ScoreFiles(tmp_path)
    write(emptied, files)
    scores = read(files.json, Result).scores["nDCG@10"]
    assert scores["dense"] == {"ko": 50.0, "fa": None, "average": None}
    assert scores["all"]["average"] == 39.5833
    assert "NaN" not in files.json.read_text()
    rows = list(csv.DictReader(files.csv.open()))
    assert [row["dense"] for row in rows] == ["50.0000", "", ""]
    show(emptied)
    for said in (files.markdown.read_text(), capsys.readouterr().out):
        assert "– no score, and so no average" in said and "(dense fa)" in said
    assert "| average |  | 39.6 | – |" in files.markdown.read_text()


def test_a_language_without_a_value_is_held_against_nothing(tmp_path):
    per_query = {("dense", "ko"): {"nDCG@10": {"1": 0.7}}, ("dense", "fa"): {"nDCG@10": {}}}
    write(published_report(per_query=per_query), ScoreFiles(tmp_path))
    distances = json.loads((tmp_path / "scores.json").read_text())["distances"]["nDCG@10"]
    assert [distance["language"] for distance in distances] == ["ko"]


GROUPS = {"ko": {"easy": ["1"], "hard": ["2", "3"]}, "fa": {"easy": ["1"], "hard": []}}
BY_CHANCE = {"ko": {"nDCG@10": {"1": 0.5, "2": 0.1, "3": 0.0}}, "fa": {"nDCG@10": {"1": 0.25}}}


def test_groups_and_chance_have_rows_below_the_average(tmp_path, capsys):
    grouped = report(groups=GROUPS, chance=BY_CHANCE)
    # fa has no hard query, so there is no average over both.
    assert grouped.below("nDCG@10") == {
        "easy": ["62.5", "56.2"],
        "hard": ["–", "–"],
        "chance": ["22.5", "22.5"],
    }
    files = ScoreFiles(tmp_path)
    write(grouped, files)
    show(grouped)
    printed = capsys.readouterr().out
    markdown = files.markdown.read_text()
    assert "| easy | | 62.5 | 56.2 |" in markdown and "| chance | | 22.5 | 22.5 |" in markdown
    for said in ("easy, hard: averages over these queries alone", "chance: what a random order"):
        assert said in markdown and said in printed
    result = read(files.json, Result, "")
    assert result.groups["nDCG@10"]["easy"]["dense"] == {"ko": 100, "fa": 25, "average": 62.5}
    assert result.chance["nDCG@10"] == {"ko": 20, "fa": 25, "average": 22.5}
    # The means are over all queries, as without groups.
    assert grouped.scores("nDCG@10").equals(REPORT.scores("nDCG@10"))


def test_chance_that_is_nothing_has_no_row():
    nothing = {language: {"nDCG@10": dict.fromkeys("123", 1e-4)} for language in ("ko", "fa")}
    assert report(chance=nothing).below("nDCG@10") == {}
