"""Encoding: m3eval against FlagEmbedding and sentence-transformers, on one random checkpoint of BGE-M3's architecture.

    python -m bench.encode                        6 layers x 384, 2,000 documents of mixed lengths (about 15 minutes on 2 cores)
    python -m bench.encode --quick                200 documents, one round; writes only with --output
    python -m bench.encode --layers 24 --hidden 1024 --heads 16 --documents 100    the shape of BGE-M3 itself

Every contender is a process of its own with all cores; all take turns. FlagEmbedding runs with its default batch size (256)
and with the best of several, sentence-transformers with the best. `all` is dense, sparse and multi-vector in one pass. Their
vectors must agree with ours to 1e-5 in fp32. Writes results/bench/encode.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import material, peers
from bench.machine import machine
from bench.measure import ROOT, say
from bench.pairs import Contender, alternate, times
from m3eval.files import write_json

BATCH_SIZES = (8, 16, 32, 64)
DENSE, ALL = ("dense",), ("dense", "sparse", "multi_vector")
GOALS = {  # slower / faster: at least
    "FlagEmbedding fp32 best / ours fp32": 1.4,
    "FlagEmbedding fp32 256 / ours fp32": 2.0,
    "FlagEmbedding fp32 best / ours bf16": 2.3,
    "sentence-transformers fp32 / ours fp32": 1.5,
    "sentence-transformers fp32 / ours bf16": 2.5,
    "256 queries: FlagEmbedding fp32 / ours fp32": 4.0,
    "a query: FlagEmbedding fp32 / ours fp32": 2.0,
}


def best_batch_size(make: Any, *arguments: Any) -> int:
    """The batch size of the least CPU time, which neighbours on the machine disturb least."""
    found = {}
    for size in BATCH_SIZES:
        contender = Contender(f"batch size {size}", make, *arguments, size)
        contender.run(warm=True)
        contender.run()
        found[size] = contender.cpu[0]
        contender.end()
    return min(found, key=found.get)


def compare(
    title: str,
    contenders: dict[str, tuple],
    rounds: int,
    pairs: list[tuple[str, str]],
    prefix: str = "",
) -> dict:
    """Times contenders in turn; ratios of the pairs (slower, faster), and each's distance to ours in fp32."""
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
    for name, found in vectors.items():
        report["contenders"][name]["largest_difference_to_ours"] = float(
            np.abs(found - vectors["ours fp32"]).max()
        )
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
    asked = parser.parse_args()
    n, rounds = (
        asked.documents or (200 if asked.quick else 2000),
        asked.rounds or (1 if asked.quick else 3),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = material.checkpoint(Path(folder), asked.layers, asked.hidden, asked.heads)
        report = measure(path, asked, n, rounds)
    output = asked.output or (None if asked.quick else ROOT / "results" / "bench" / "encode.json")
    if output:
        write_json(output, report)
        say(f"written {output}")
    missed = [
        name for part in ("documents", "queries", "query") for name in below(report[part]["ratios"])
    ]
    if missed and not asked.quick:
        raise SystemExit("below the goal: " + "; ".join(missed))


def below(ratios: dict[str, dict[str, float]]) -> list[str]:
    """The ratios that miss their goal."""
    return [
        f"{name}: {value['median']}"
        for name, value in ratios.items()
        if value["median"] < GOALS.get(name, 0)
    ]


def measure(path: Path, asked: argparse.Namespace, n: int, rounds: int) -> dict[str, Any]:
    """The whole report."""
    texts, device = material.documents(n), asked.device
    lengths = material.lengths(texts)
    flops = asked.layers * (24 * asked.hidden**2 * lengths + 4 * asked.hidden * lengths**2).sum()
    sample = texts[: max(100, n // 8)]
    say("the best batch size of each peer, on some of the texts")
    flag = best_batch_size(peers.flag_embedding, path, sample, "fp32", DENSE, device)
    sbert = best_batch_size(peers.sentence_transformers, path, sample, "fp32", device)
    ours = {
        f"ours {precision}": (peers.m3eval, path, texts, precision, DENSE, device)
        for precision in ("fp32", "bf16")
    }
    report: dict[str, Any] = {
        "checkpoint": f"M3, {asked.layers} layers x {asked.hidden}, random weights",
        "tokens": int(lengths.sum()),
        "texts": n,
        "best_batch_size": {"FlagEmbedding": flag, "sentence-transformers": sbert},
        "goals": GOALS,
    }
    report["documents"] = compare(
        f"{n:,} documents, {lengths.sum():,} tokens, dense",
        ours
        | {
            "FlagEmbedding fp32 best": (
                peers.flag_embedding,
                path,
                texts,
                "fp32",
                DENSE,
                device,
                flag,
            ),
            "FlagEmbedding fp32 256": (
                peers.flag_embedding,
                path,
                texts,
                "fp32",
                DENSE,
                device,
                256,
            ),
            "FlagEmbedding bf16 best": (
                peers.flag_embedding,
                path,
                texts,
                "bf16",
                DENSE,
                device,
                flag,
            ),
            "sentence-transformers fp32": (
                peers.sentence_transformers,
                path,
                texts,
                "fp32",
                device,
                sbert,
            ),
            "sentence-transformers bf16": (
                peers.sentence_transformers,
                path,
                texts,
                "bf16",
                device,
                sbert,
            ),
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
            "ours fp32": (peers.m3eval, path, texts, "fp32", ALL, device),
            "ours bf16": (peers.m3eval, path, texts, "bf16", ALL, device),
            "FlagEmbedding fp32": (peers.flag_embedding, path, texts, "fp32", ALL, device, flag),
        },
        rounds,
        [("FlagEmbedding fp32", "ours fp32"), ("FlagEmbedding fp32", "ours bf16")],
        "all: ",
    )
    queries = material.queries(256)
    report["queries"] = compare(
        "256 queries in one call, dense",
        {
            "ours fp32": (peers.m3eval, path, queries, "fp32", DENSE, device),
            "ours bf16": (peers.m3eval, path, queries, "bf16", DENSE, device),
            "FlagEmbedding fp32": (peers.flag_embedding, path, queries, "fp32", DENSE, device, 256),
            "FlagEmbedding fp32 best": (
                peers.flag_embedding,
                path,
                queries,
                "fp32",
                DENSE,
                device,
                flag,
            ),
        },
        3 * rounds,
        [
            ("FlagEmbedding fp32", "ours fp32"),
            ("FlagEmbedding fp32 best", "ours fp32"),
            ("FlagEmbedding fp32", "ours bf16"),
        ],
        "256 queries: ",
    )
    report["query"] = compare(
        "256 queries in a call each, dense",
        {
            "ours fp32": (peers.m3eval, path, queries, "fp32", DENSE, device, material.LIMIT, True),
            "ours bf16": (peers.m3eval, path, queries, "bf16", DENSE, device, material.LIMIT, True),
            "FlagEmbedding fp32": (
                peers.flag_embedding,
                path,
                queries,
                "fp32",
                DENSE,
                device,
                256,
                material.LIMIT,
                True,
            ),
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
            f"{name}: {contender['tokens_per_second']:,} tokens/s, {contender['share_of_matrix_rate']:.0%} of the matrix rate"
        )
    return report


if __name__ == "__main__":
    main()
