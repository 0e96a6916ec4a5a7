"""Peak memory of stage 0 and of dense search on a corpus of many short texts, above what the model itself takes.

    python -m bench.memory                  200,000 texts with e5_small_q4 (about 15 minutes on 2 cores)
    python -m bench.memory --texts 20000

Runs the scripts as processes and reads their peak resident size from the operating system; a corpus of 64 texts tells what
model, libraries and their buffers take. Writes results/bench/memory.json.
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

from m3eval.files import write_json
from m3eval.provenance import versions
from m3eval.runtime import settle

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 2.0  # GiB above the model that we allow


def corpus(folder: Path, n: int) -> None:
    """Writes n documents of 5 to 20 made-up words, 100 queries and their judgements."""
    rng = random.Random(0)
    words = [
        "".join(rng.choices("abcdefghijklmnoprstuvwz", k=rng.randint(2, 9))) for _ in range(20_000)
    ]
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as file:
        for i in range(n):
            file.write(
                json.dumps(
                    {"docid": f"d{i}", "text": " ".join(rng.choices(words, k=rng.randint(5, 20)))}
                )
                + "\n"
            )
    queries = [(f"q{i}", " ".join(rng.choices(words, k=5))) for i in range(100)]
    (folder / "queries.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in queries))
    (folder / "qrels.tsv").write_text(
        "".join(f"{qid} 0 d{i} 1\n" for i, (qid, _) in enumerate(queries))
    )


def run(script: str, data: Path, output: Path) -> dict[str, float]:
    """Runs a stage; gives its peak resident size in GiB and its seconds."""
    settings = [
        "encoder=e5_small_q4",
        "benchmark=folder",
        "benchmark.name=memory",
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
    parser.add_argument("--texts", type=int, default=200_000)
    n = parser.parse_args().texts
    found: dict[str, Any] = {"texts": n, "limit_gib_above_the_model": LIMIT}
    with tempfile.TemporaryDirectory() as temporary:
        for size, name in ((64, "model"), (n, "corpus")):
            corpus(Path(temporary) / name, size)
            for script in ("step0_embed.py", "step1_search.py"):
                found[f"{script} {name}"] = run(
                    script, Path(temporary) / name, Path(temporary) / f"out-{name}"
                )
    for script in ("step0_embed.py", "step1_search.py"):
        above = found[f"{script} corpus"]["peak_gib"] - found[f"{script} model"]["peak_gib"]
        found[f"{script} above the model, GiB"] = round(above, 3)
        sys.stdout.write(
            f"{script}: {above:.2f} GiB above the model ({found[f'{script} corpus']['seconds']} s)\n"
        )
    runtime = settle("auto", "auto", "auto", "auto", 20_000, 50_000)
    write_json(
        ROOT / "results" / "bench" / "memory.json",
        found | {"machine": versions(runtime), "runtime": str(runtime)},
    )


if __name__ == "__main__":
    main()
