"""bench.all: what is run again, what is said to have moved, and the table that is made."""

import json
from pathlib import Path

import pytest

from bench import all as every
from bench import speed_table

ROOT = Path(__file__).resolve().parents[2]


def figures(kind: str | None, median: float = 2.0, spread: float = 0.1) -> dict:
    ratio = {"median": median, "min": median - spread, "max": median + spread}
    report = {
        "rounds": 3,
        "metrics": {
            "cpu_seconds": {"ours": ratio},
            "times_as_long_as_ours": {"trec_eval, each": ratio},
        },
    }
    return report | {"machine": {"processor": kind} if kind else {}}


def test_a_bench_is_run_once_and_its_figures_are_of_this_machine(tmp_path, capsys, monkeypatch):
    words = ["--quick", "--only", "statistics", "--folder", str(tmp_path)]
    written = speed_table.DOCUMENT.read_bytes()
    assert every.main(words) == 0
    file = tmp_path / "statistics.json"
    first = file.read_bytes()
    assert json.loads(first)["machine"]["processor"] == every.processor()
    monkeypatch.setattr(every.subprocess, "run", lambda *_, **__: pytest.fail("run again"))
    assert every.main(words) == 0
    assert "its figures are in" in capsys.readouterr().out
    assert file.read_bytes() == first
    assert speed_table.DOCUMENT.read_bytes() == written  # small work changes no results


def test_a_peer_that_is_missing_is_said_and_a_bench_that_fails_is_too(tmp_path, capfd):
    lacking = every.Bench("statistics", 1, ("no_such_peer", "numpy"))
    said = every.run(lacking, tmp_path / "x.json", quick=True)
    assert said == "left out: needs no_such_peer (pip install 'm3eval[dev,lucene]')"
    broken = every.Bench("statistics", 1, (), ("--no-such-word",))
    assert every.run(broken, tmp_path / "x.json", quick=True) == "failed: status 2"
    assert "--no-such-word" in capfd.readouterr().err


def test_every_bench_of_the_table_is_run_and_says_its_processor():
    names = [bench.name for bench in every.BENCHES]
    assert {row.bench for row in speed_table.ROWS} <= {*names}
    for name in names:
        text = (ROOT / "bench" / f"{name}.py").read_text()
        assert '"--output"' in text and "machine()" in text


def test_what_moved_is_that_whose_ranges_do_not_meet():
    def told(before, now):
        return list(every.moved(figures("A", before), figures("A", now)))

    name = "metrics, times_as_long_as_ours, trec_eval, each"
    assert told(2.0, 2.15) == []
    assert told(2.0, 2.3) == [f"{name}: 2.0 -> 2.3"]
    assert told(2.0, 1.7) == [f"{name}: 2.0 -> 1.7"]  # seconds are no ratio
    assert list(every.moved(figures("A"), {})) == [f"{name}: 2.0 -> not measured"]
    in_a_list = [{"ratios": figures("A", 1.0)["metrics"]["cpu_seconds"]}]
    assert list(every.moved(in_a_list, [])) == ["0, ratios, ours: 1.0 -> not measured"]


def test_each_kind_of_processor_has_a_place_and_a_line(tmp_path, capsys):
    results, new = tmp_path / "results", tmp_path / "new.json"
    results.mkdir()
    for kind, median in (("A (R) 1", 2.0), ("B", 3.0), ("A (R) 1", 4.0), ("B", 3.05)):
        new.write_text(json.dumps(figures(kind, median)))
        every.keep("statistics", new, results)
    said = capsys.readouterr().out
    assert said.count("nothing is recorded of") == 2
    assert "1 ratios moved on A (R) 1:" in said and "0 ratios moved on B" in said
    assert json.loads((results / "statistics.json").read_text()) == figures("A (R) 1", 4.0)
    assert json.loads((results / "b/statistics.json").read_text()) == figures("B", 3.05)
    lines = speed_table.table(results).splitlines()
    assert [line.split(" | ")[2:] for line in lines[2:]] == [
        ["A (R) 1", "4", "", " |"],
        ["B", "3.05", "", " |"],
    ]


def test_figures_without_a_processor_give_way(tmp_path):
    new = tmp_path / "new.json"
    (tmp_path / "statistics.json").write_text(json.dumps(figures(None)))
    assert speed_table.table(tmp_path).count("\n") == 2
    new.write_text(json.dumps(figures("A", 3.0)))
    every.keep("statistics", new, tmp_path)
    assert json.loads((tmp_path / "statistics.json").read_text()) == figures("A", 3.0)


def test_a_ratio_of_seconds_of_ours_is_turned_over(tmp_path):
    case = {"documents": 20000, "dimensions": 384}
    case["times_as_long_as_torch"] = {"ours": {"median": 0.5, "min": 0.4, "max": 0.6}}
    report = {"cases": [case], "machine": {"processor": "A"}}
    (tmp_path / "dense.json").write_text(json.dumps(report))
    row = speed_table.table(tmp_path).splitlines()[2]
    assert row.startswith("| exact dense search, 20,000 x 384") and row.endswith("| A | 2 |  |  |")


def test_the_document_has_the_table_of_the_results_that_lie_here(tmp_path):
    """After figures were changed by hand: python -m bench.all --table"""
    document = tmp_path / "speed.md"
    document.write_bytes(speed_table.DOCUMENT.read_bytes())
    speed_table.write(every.RESULTS, document)
    assert document.read_text() == speed_table.DOCUMENT.read_text()
    assert speed_table.table(every.RESULTS).count("\n") > 20
