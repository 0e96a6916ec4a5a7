"""Peak memory of stage 0 and of stage 1's dense search on a corpus of many short texts.

    python -m bench.memory                  200,000 texts with e5_small_q4 (15 minutes on 2 cores)
    python -m bench.memory --texts 2000     a minute; writes only with --output

The two scripts run as processes, and the operating system tells their peak resident size. They run
on 64 texts too, which shows what the model, the libraries and their buffers take. The difference
(`... above the model, GiB`) is what the texts take; more than 2 GiB would be too much.
Writes results/bench/memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import ROOT, say
from m3eval.files import write_json
from m3eval.runtime import settle

LIMIT = 2.0  # GiB above the model
TEXTS = 200_000
SCRIPTS = ("step0_embed.py", "step1_search.py")


def corpus(folder: Path, n: int) -> None:
    """Writes `n` documents of 5 to 20 made-up words, 100 queries and their judgements."""
    rng = random.Random(0)
    words = [
        "".join(rng.choices("abcdefghijklmnoprstuvwz", k=rng.randint(2, 9))) for _ in range(20_000)
    ]
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as file:
        for i in range(n):
            text = " ".join(rng.choices(words, k=rng.randint(5, 20)))
            file.write(json.dumps({"docid": f"d{i}", "text": text}) + "\n")
    queries = [(f"q{i}", " ".join(rng.choices(words, k=5))) for i in range(100)]
    (folder / "queries.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in queries))
    (folder / "qrels.tsv").write_text(
        "".join(f"{qid} 0 d{i} 1\n" for i, (qid, _) in enumerate(queries))
    )


def run(script: str, data: Path, output: Path) -> dict[str, float]:
    """Runs a stage. Returns its peak resident size in GiB and its wall-clock seconds."""
    settings = [
        "encoder=e5_small_q4",
        "benchmark=folder",
        "benchmark.name=memory",
        "benchmark.language=en",
        f"benchmark.root={data}",
        "retriever=[dense]",
        f"output_dir={output}",
    ]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, script, *settings], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{script} failed with status {status}")
    return {
        "peak_gib": round(usage.ru_maxrss / 2**20, 3),
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    n = options.texts
    report: dict[str, Any] = {"texts": n, "limit_gib_above_the_model": LIMIT}
    with tempfile.TemporaryDirectory() as temporary:
        for size, name in ((64, "model"), (n, "corpus")):
            corpus(Path(temporary) / name, size)
            for script in SCRIPTS:
                report[f"{script} {name}"] = run(
                    script, Path(temporary) / name, Path(temporary) / f"out-{name}"
                )
    for script in SCRIPTS:
        whole, model = report[f"{script} corpus"], report[f"{script} model"]
        above = whole["peak_gib"] - model["peak_gib"]
        report[f"{script} above the model, GiB"] = round(above, 3)
        say(f"{script}: {above:.2f} GiB above the model ({whole['seconds']} s)")
    output = options.output or (ROOT / "results" / "bench" / "memory.json" if n == TEXTS else None)
    if output:
        from bench.machine import machine  # torch: a child may begin as an image of this process

        runtime = settle("auto", "auto", "auto", "auto", 20_000, 50_000)
        write_json(output, report | {"machine": machine(), "runtime": str(runtime)})


if __name__ == "__main__":
    main()
