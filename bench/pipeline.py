"""The three stages as a user calls them, in this checkout and in another one of m3eval, in turn.

    git worktree add ../m3eval-before COMMIT
    python -m bench.pipeline --before ../m3eval-before --data ../miracl_tydi   (20 minutes)
    python -m bench.pipeline --before ../m3eval-before --quick   (3 languages of the demo)

The other checkout runs in this one's environment. The benchmarks are the demo and, with --data,
four languages of MIRACL over TyDi's documents (results/README.md), with five retrievers each.

`seconds` are wall-clock seconds of each stage in an empty output folder; `times_as_fast` is the
time before by the time after. Writes results/bench/pipeline.json; --quick only with --output.
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
    """Runs the stages into an empty folder. Returns the wall-clock seconds of each and of all."""
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
    """Runs one benchmark in both checkouts, in turn."""
    seconds_of_runs: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
    checkouts = [("before", before), ("after", ROOT)]
    for i in range(rounds):
        for which, checkout in checkouts if i % 2 == 0 else checkouts[::-1]:
            stages = run(checkout, settings)
            seconds_of_runs[which].append(stages)
            shown = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in stages.items())
            say(f"  {name}, {which}: {shown}")
    columns = {
        which: {stage: [stages[stage] for stages in runs] for stage in runs[0]}
        for which, runs in seconds_of_runs.items()
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
    parser.add_argument("--data", type=Path, help="a mirror of miracl_tydi (results/README.md)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    cases = {"demo": ["experiment=demo"] + (["languages=[ar,ja,sw]"] if options.quick else [])}
    if options.data and not options.quick:
        cases["miracl_tydi"] = [
            "encoder=e5_small_q4",
            f"benchmark.root={options.data.resolve()}",
            "benchmark.subset=true",
            "benchmark.name=miracl_tydi",
            "languages=[en,id,ko,sw]",
        ]
    before = options.before.resolve()
    commits = {
        which: subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=at, capture_output=True, text=True
        ).stdout.strip()
        for which, at in (("before", before), ("after", ROOT))
    }
    report = {
        name: compare(name, settings, before, options.rounds) for name, settings in cases.items()
    }
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "pipeline.json"
    )
    if output:
        for case in report.values():
            # The folder of the data says nothing to another reader.
            case["settings"] = [
                word for word in case["settings"] if not word.startswith("benchmark.root=")
            ]
        write_json(output, {"commits": commits} | report | {"machine": machine()})
        say(f"written {output}")


if __name__ == "__main__":
    main()
