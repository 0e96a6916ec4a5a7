"""Encoding: m3eval against FlagEmbedding and sentence-transformers on one random checkpoint.

    python -m bench.encode           6 layers x 384, 2,000 documents (15 minutes on 2 cores)
    python -m bench.encode --quick   200 documents, one round; writes only with --output
    python -m bench.encode --layers 24 --hidden 1024 --heads 16 --documents 100   BGE-M3's own shape

The checkpoint has BGE-M3's architecture; the texts are those of bench/material.py. Every contender
is a process of its own with all cores, and they take turns. FlagEmbedding runs with its default
batch size (256) and with the best of several, sentence-transformers with the best.

The report has four parts: `documents` (dense only), `all` (dense, sparse and multi-vector in one
pass), `queries` (256 queries in one call) and `query` (256 queries in a call each). In each,
`ratios` says how many times as long a peer took as m3eval (median, min, max), and
`largest_difference_to_ours` how far its dense vectors are from m3eval's in fp32.
`share_of_matrix_rate` is the rate of floating-point operations, as a share of what matrix products
alone reach on this machine. Writes results/bench/encode.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import material, peers
from bench.machine import machine
from bench.material import LIMIT
from bench.measure import ROOT, say
from bench.pairs import Contender, alternate, best_of, times
from m3eval.files import write_json

BATCH_SIZES = (8, 16, 32, 64)
FLAG_DEFAULT = 256  # FlagEmbedding's batch size, unless it is told another
DENSE, ALL = ("dense",), ("dense", "sparse", "multi_vector")
# How many times as long the first must take as the second.
GOALS = {
    "FlagEmbedding fp32 best / ours fp32": 1.4,
    "FlagEmbedding fp32 256 / ours fp32": 2.0,
    "FlagEmbedding fp32 best / ours bf16": 2.3,
    "sentence-transformers fp32 / ours fp32": 1.5,
    "sentence-transformers fp32 / ours bf16": 2.5,
    "256 queries: FlagEmbedding fp32 / ours fp32": 4.0,
    "a query: FlagEmbedding fp32 / ours fp32": 2.0,
}


def best_batch_size(make: Any, *arguments: Any) -> int:
    """The batch size that needs least CPU time."""
    return best_of({size: (make, *arguments, size) for size in BATCH_SIZES})


def compare(
    title: str,
    contenders: dict[str, tuple],
    rounds: int,
    pairs: list[tuple[str, str]],
    prefix: str = "",
) -> dict:
    """Times contenders in turn.

    Args:
        title: what to print above.
        contenders: by name, what `Contender` takes. One is called "ours fp32".
        rounds: how often each runs.
        pairs: names of a slower and a faster contender, whose ratio is reported.
        prefix: stands before the names of ratios.
    """
    say(f"\n{title}")
    processes = {name: Contender(name, *what) for name, what in contenders.items()}
    vectors = alternate(list(processes.values()), rounds)
    ratios = {
        f"{prefix}{slow} / {fast}": times(processes[slow], processes[fast]) for slow, fast in pairs
    }
    report = {
        "contenders": {name: process.summary() for name, process in processes.items()},
        "ratios": ratios,
    }
    for name, dense in vectors.items():
        difference = np.abs(dense - vectors["ours fp32"]).max()
        report["contenders"][name]["largest_difference_to_ours"] = float(difference)
    for process in processes.values():
        process.end()
    for name, value in ratios.items():
        goal = f" (goal {GOALS[name]})" if name in GOALS else ""
        say(f"{name}: {value['median']} times ({value['min']} to {value['max']}){goal}")
    return report


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="200 documents, one round")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    n = options.documents or (200 if options.quick else 2000)
    rounds = options.rounds or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        path = material.checkpoint(Path(folder), options.layers, options.hidden, options.heads)
        report = measure(path, options, n, rounds)
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "encode.json"
    )
    if output:
        write_json(output, report)
        say(f"written {output}")
    missed = [
        name for part in ("documents", "queries", "query") for name in below(report[part]["ratios"])
    ]
    if missed and not options.quick:
        raise SystemExit("below the goal: " + "; ".join(missed))


def below(ratios: dict[str, dict[str, float]]) -> list[str]:
    """The ratios that miss their goal."""
    return [
        f"{name}: {value['median']}"
        for name, value in ratios.items()
        if value["median"] < GOALS.get(name, 0)
    ]


def measure(path: Path, options: argparse.Namespace, n: int, rounds: int) -> dict[str, Any]:
    """Measures everything and returns the report."""
    texts, device = material.documents(n), options.device
    lengths = material.lengths(texts)
    flops = (
        options.layers * (24 * options.hidden**2 * lengths + 4 * options.hidden * lengths**2).sum()
    )
    sample = texts[: max(100, n // 8)]
    say("the best batch size of each peer, on some of the texts")
    flag_best = best_batch_size(peers.flag_embedding, path, sample, "fp32", DENSE, device)
    sbert_best = best_batch_size(peers.sentence_transformers, path, sample, "fp32", device)
    report: dict[str, Any] = {
        "checkpoint": f"M3, {options.layers} layers x {options.hidden}, random weights",
        "tokens": int(lengths.sum()),
        "texts": n,
        "best_batch_size": {"FlagEmbedding": flag_best, "sentence-transformers": sbert_best},
        "goals": GOALS,
    }

    # Each returns a function of bench/peers.py and its arguments, for a process of its own.
    def ours(
        texts: list[str], precision: str, wanted: tuple[str, ...], alone: bool = False
    ) -> tuple:
        return peers.m3eval, path, texts, precision, wanted, device, LIMIT, alone

    def flag(
        texts: list[str], precision: str, wanted: tuple[str, ...], size: int, alone: bool = False
    ) -> tuple:
        return peers.flag_embedding, path, texts, precision, wanted, device, size, LIMIT, alone

    def sbert(texts: list[str], precision: str) -> tuple:
        return peers.sentence_transformers, path, texts, precision, device, sbert_best

    report["documents"] = compare(
        f"{n:,} documents, {lengths.sum():,} tokens, dense",
        {
            "ours fp32": ours(texts, "fp32", DENSE),
            "ours bf16": ours(texts, "bf16", DENSE),
            "FlagEmbedding fp32 best": flag(texts, "fp32", DENSE, flag_best),
            "FlagEmbedding fp32 256": flag(texts, "fp32", DENSE, FLAG_DEFAULT),
            "FlagEmbedding bf16 best": flag(texts, "bf16", DENSE, flag_best),
            "sentence-transformers fp32": sbert(texts, "fp32"),
            "sentence-transformers bf16": sbert(texts, "bf16"),
        },
        rounds,
        [
            ("FlagEmbedding fp32 best", "ours fp32"),
            ("FlagEmbedding fp32 256", "ours fp32"),
            ("FlagEmbedding fp32 best", "ours bf16"),
            ("FlagEmbedding bf16 best", "ours bf16"),
            ("sentence-transformers fp32", "ours fp32"),
            ("sentence-transformers fp32", "ours bf16"),
            ("sentence-transformers bf16", "ours bf16"),
        ],
    )
    report["all"] = compare(
        "the same, all three representations",
        {
            "ours fp32": ours(texts, "fp32", ALL),
            "ours bf16": ours(texts, "bf16", ALL),
            "FlagEmbedding fp32": flag(texts, "fp32", ALL, flag_best),
        },
        rounds,
        [("FlagEmbedding fp32", "ours fp32"), ("FlagEmbedding fp32", "ours bf16")],
        "all: ",
    )
    queries = material.queries(256)
    of_queries = {
        size: (peers.flag_embedding, path, queries, "fp32", DENSE, device, size)
        for size in (*BATCH_SIZES, FLAG_DEFAULT)
    }
    report["best_batch_size"]["FlagEmbedding, queries"] = best = best_of(of_queries)
    report["queries"] = compare(
        "256 queries in one call, dense",
        {
            "ours fp32": ours(queries, "fp32", DENSE),
            "ours bf16": ours(queries, "bf16", DENSE),
            "FlagEmbedding fp32": flag(queries, "fp32", DENSE, FLAG_DEFAULT),
            "FlagEmbedding fp32 best": flag(queries, "fp32", DENSE, best),
        },
        3 * rounds,
        [
            ("FlagEmbedding fp32", "ours fp32"),
            ("FlagEmbedding fp32 best", "ours fp32"),
            ("FlagEmbedding fp32 best", "ours bf16"),
            ("FlagEmbedding fp32", "ours bf16"),
        ],
        "256 queries: ",
    )
    report["query"] = compare(
        "256 queries in a call each, dense",
        {
            "ours fp32": ours(queries, "fp32", DENSE, alone=True),
            "ours bf16": ours(queries, "bf16", DENSE, alone=True),
            "FlagEmbedding fp32": flag(queries, "fp32", DENSE, FLAG_DEFAULT, alone=True),
        },
        3 * rounds,
        [("FlagEmbedding fp32", "ours fp32"), ("FlagEmbedding fp32", "ours bf16")],
        "a query: ",
    )
    report["machine"] = machine()
    rates = report["machine"]["matrix_gflop_per_s"]
    for name, contender in report["documents"]["contenders"].items():
        seconds = contender["seconds"]["median"]
        rate = max(rate for kind, rate in rates.items() if kind.startswith(name.split()[1]))
        contender["tokens_per_second"] = round(lengths.sum() / seconds)
        contender["share_of_matrix_rate"] = round(flops / seconds / 1e9 / rate, 2)
        say(
            f"{name}: {contender['tokens_per_second']:,} tokens/s, "
            f"{contender['share_of_matrix_rate']:.0%} of the matrix rate"
        )
    return report


if __name__ == "__main__":
    main()
