"""The three stages as a user calls them, in this checkout and in another one of m3eval, in turn.

    python -m bench.pipeline --before ../m3eval-before --data ../miracl_tydi        demo and miracl_tydi, five retrievers each
    python -m bench.pipeline --before ../m3eval-before --quick                      demo of three languages

Prints wall-clock seconds of each stage, checkout and benchmark, and writes results/bench/pipeline.json. The other checkout,
as `git worktree add ../m3eval-before COMMIT` makes it, is run with this one's environment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.measure import ROOT, ratio, say, spread
from m3eval.files import write_json

STAGES = ("step0_embed.py", "step1_search.py", "step2_eval.py")


def run(checkout: Path, settings: list[str]) -> dict[str, float]:
    """Runs the stages into an empty folder; wall-clock seconds of each."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for stage in STAGES:
            started = time.perf_counter()
            command = [sys.executable, str(checkout / stage), *settings, f"output_dir={folder}"]
            environment = os.environ | {"PYTHONPATH": str(checkout)}
            subprocess.run(
                command, check=True, cwd=checkout, env=environment, stdout=subprocess.DEVNULL
            )
            seconds[stage] = time.perf_counter() - started
    return seconds | {"total": sum(seconds.values())}


def compare(name: str, settings: list[str], before: Path, rounds: int) -> dict[str, Any]:
    """Both checkouts on one benchmark."""
    found: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
    for i in range(rounds):
        for which, checkout in list({"before": before, "after": ROOT}.items())[
            :: -1 if i % 2 else 1
        ]:
            found[which].append(run(checkout, settings))
            say(
                f"  {name}, {which}: "
                + ", ".join(f"{stage} {value:.1f} s" for stage, value in found[which][-1].items())
            )
    columns = {
        which: {stage: [r[stage] for r in runs] for stage in runs[0]}
        for which, runs in found.items()
    }
    times = {
        stage: ratio(columns["before"][stage], columns["after"][stage])
        for stage in columns["after"]
    }
    say(f"{name}: {times['total']['median']} times as fast as before")
    seconds = {
        which: {stage: spread(values) for stage, values in column.items()}
        for which, column in columns.items()
    }
    return {"settings": settings, "seconds": seconds, "times_as_fast": times}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--data", type=Path, help="a mirror of miracl_tydi (README of results/)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    cases = {"demo": ["experiment=demo"] + (["languages=[ar,ja,sw]"] if asked.quick else [])}
    if asked.data and not asked.quick:
        cases["miracl_tydi"] = [
            "encoder=e5_small_q4",
            f"benchmark.root={asked.data.resolve()}",
            "benchmark.subset=true",
            "benchmark.name=miracl_tydi",
            "languages=[en,id,ko,sw]",
        ]
    before = asked.before.resolve()
    commits = {
        which: subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=at, capture_output=True, text=True
        ).stdout.strip()
        for which, at in (("before", before), ("after", ROOT))
    }
    report = {
        name: compare(name, settings, before, asked.rounds) for name, settings in cases.items()
    }
    output = asked.output or (None if asked.quick else ROOT / "results" / "bench" / "pipeline.json")
    if output:
        for case in report.values():  # where the data lay is nobody's business
            case["settings"] = [
                word for word in case["settings"] if not word.startswith("benchmark.root=")
            ]
        write_json(output, {"commits": commits} | report | {"machine": machine()})
        say(f"written {output}")


if __name__ == "__main__":
    main()
