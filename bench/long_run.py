"""Memory and open files as the corpus grows: 1,000,000 short documents, stage 0 and three searches.

    python -m bench.long_run                      1,000,000 documents, and a quarter of them
    python -m bench.long_run --documents 50000    half a minute; writes only with --write

The encoder is that of the tests' faults, vectors out of hashed words, so that the stages are what
is measured, and no model. Every stage is a process of its own, looked at fifty times a second: its
anonymous memory (mapped files aside, which the system takes back when it needs to) and its open
files. A stage is flat where four times the documents take no more of either, but for `SLACK` and
`SLACK_FILES`: the longer run has 15 shards more. bm25s is not expected to be: it keeps the words of
the whole corpus (see its docstring). Writes the figures into results/reliability.md.
"""

from __future__ import annotations

import argparse
import re
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
DEPTH = 100  # which every query reaches with a quarter of the documents, too
SLACK_FILES = 3  # a file that is open for a moment may be missed
SLACK = 0.1  # of the memory that a quarter of the documents takes
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


class Ended(NamedTuple):
    """A stage that ended: the most that it had."""

    seconds: float
    memory: float  # MB, anonymous
    files: int  # open


def run(words: Sequence[str]) -> Ended:
    """Runs a command; what it took."""
    started, looks = time.monotonic(), []
    process = subprocess.Popen(
        [sys.executable, "-m", "m3eval", *words], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        if seen := look(process.pid):
            looks.append(seen)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"m3eval {' '.join(words)} ended with status {process.returncode}")
    seconds = time.monotonic() - started
    return Ended(seconds, max(each.memory for each in looks), max(each.files for each in looks))


def stages(documents: int) -> dict[str, Ended]:
    """Runs all stages over so many documents; what each took."""
    with tempfile.TemporaryDirectory() as folder:
        corpus(Path(folder) / "en", documents)
        settings = [
            "benchmark=folder",
            f"benchmark.root={folder}",
            "benchmark.name=long",
            "languages=[en]",
            "encoder=fake",
            "representations=[dense,sparse]",
            f"benchmark.retrieval.depth={DEPTH}",
            f"benchmark.retrieval.rerank_depth={DEPTH}",
            "runtime.threads=1",
            "runtime.precision=fp32",
            f"output_dir={folder}/out",
        ]
        return {
            name: run([command, *settings, *words, "--config-dir", str(CONF)])
            for name, (command, *words) in STAGES.items()
        }


def row(name: str, quarter: Ended, whole: Ended) -> str:
    """A row of the table: what a quarter of the documents took and what all took."""
    flat = (
        whole.memory <= quarter.memory * (1 + SLACK) and whole.files <= quarter.files + SLACK_FILES
    )
    return (
        f"| {name} | {whole.seconds:,.0f} | {quarter.memory:,.0f} | {whole.memory:,.0f} | "
        f"{quarter.files} | {whole.files} | {'yes' if flat else 'no'} |"
    )


def main() -> None:
    """Runs all stages and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--write", action="store_true", help="write a smaller run's figures, too")
    options = parser.parse_args()
    n = options.documents
    quarter, whole = stages(n // 4), stages(n)
    lines = [
        f"`python -m bench.long_run --documents {n}`: {n // 4:,} and {n:,} documents",
        f"of 5 to 20 words, 100 queries, depth {DEPTH}, one thread.",
        "",
        f"| stage | seconds | peak MB of {n // 4:,} | peak MB | open files of {n // 4:,} | open "
        "files | flat |",
        "|---|---|---|---|---|---|---|",
        *(row(name, quarter[name], whole[name]) for name in STAGES),
    ]
    say("\n".join(lines))
    if options.write or n == DOCUMENTS:
        write_long_run("\n".join(lines) + "\n")
        say(f"written  {PATH}")


if __name__ == "__main__":
    main()
