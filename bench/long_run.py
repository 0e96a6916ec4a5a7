"""Memory and open files through a long run: 1,000,000 short documents, stage 0 and three searches.

    python -m bench.long_run                      1,000,000 documents
    python -m bench.long_run --documents 50000    half a minute; writes only with --write

The encoder is that of the tests' faults, vectors out of hashed words, so that the stages are what
is measured, and no model. Every stage is a process of its own, looked at twice a second: its
anonymous memory (mapped files aside, which the system takes back when it needs to) and its open
files. A stage is flat where the last quarter of its time has no more than the second quarter, up to
`SLACK`. bm25s is not expected to be: it keeps the words of the whole corpus (see its docstring).
Writes the figures into results/reliability.md.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.measure import ROOT, say
from bench.memory import corpus
from tests.faults.report import PATH, write_long_run
from tests.faults.world import CONF

DOCUMENTS = 1_000_000
SLACK = 0.1  # of the memory of the second quarter
STAGES = {
    "stage 0": ("embed", "retriever=[dense]"),
    "dense": ("search", "retriever=[dense]"),
    "sparse": ("search", "retriever=[sparse]"),
    "bm25s": ("search", "retriever=[bm25s]", "retriever.bm25s.stemmer=null"),
}


class Look(NamedTuple):
    """A process at a moment."""

    memory: float  # MB, anonymous
    files: int  # open


def look(pid: int) -> Look | None:
    """Looks at a process (Linux); None: it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        anonymous = re.search(r"RssAnon:\s+(\d+) kB", status)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    return Look(int(anonymous[1]) / 1000, files) if anonymous else None


def run(words: Sequence[str]) -> tuple[float, list[Look]]:
    """Runs a command; its seconds, and what it was like."""
    started, looks = time.monotonic(), []
    process = subprocess.Popen(
        [sys.executable, "-m", "m3eval", *words], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        if seen := look(process.pid):
            looks.append(seen)
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"m3eval {' '.join(words)} ended with status {process.returncode}")
    return time.monotonic() - started, looks


def row(name: str, seconds: float, looks: list[Look]) -> str:
    """A row of the table: medians of the quarters of a stage's time, and whether it is flat."""
    quarters = [looks[i * len(looks) // 4 : (i + 1) * len(looks) // 4] or looks for i in range(4)]
    memory = [statistics.median(each.memory for each in quarter) for quarter in quarters]
    files = [max(each.files for each in quarter) for quarter in quarters]
    flat = memory[3] <= memory[1] * (1 + SLACK) and files[3] <= files[1]
    shown = " / ".join(f"{value:,.0f}" for value in memory)
    peak = max(each.memory for each in looks)
    return (
        f"| {name} | {seconds:,.0f} | {shown} | {peak:,.0f} | {' / '.join(map(str, files))} | "
        f"{'yes' if flat else 'no'} |"
    )


def main() -> None:
    """Runs all stages and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--write", action="store_true", help="write a smaller run's figures, too")
    options = parser.parse_args()
    lines = [
        f"`python -m bench.long_run --documents {options.documents}`: "
        f"{options.documents:,} documents of 5 to 20 words, 100 queries, one thread.",
        "",
        "| stage | seconds | MB by quarter of its time | peak MB | open files by quarter | flat |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        corpus(Path(folder) / "en", options.documents)
        for name, (command, *words) in STAGES.items():
            settings = [
                "benchmark=folder",
                f"benchmark.root={folder}",
                "benchmark.name=long",
                "languages=[en]",
                "encoder=fake",
                "representations=[dense,sparse]",
                "runtime.threads=1",
                "runtime.precision=fp32",
                f"output_dir={folder}/out",
            ]
            lines.append(row(name, *run([command, *settings, *words, "--config-dir", str(CONF)])))
            say(lines[-1])
    if options.write or options.documents == DOCUMENTS:
        write_long_run("\n".join(lines) + "\n")
        say(f"written  {PATH}")


if __name__ == "__main__":
    main()
