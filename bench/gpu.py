"""Encoding on a GPU: m3eval against FlagEmbedding, random weights in the full shape of BGE-M3 (24 layers x 1024), fp16.

    python -m bench.gpu                          needs CUDA and FlagEmbedding (about 15 minutes on an H200)
    python -m bench.gpu --only 128               one length alone; also 512, 8192, queries, rerank
    python -m bench.gpu --device cpu --tiny      tries every line of this file on a small model; its figures mean nothing

Texts have exactly 128, 512 or 8,192 tokens, cut from longer ones, for dense, dense + sparse and all three; then 256 queries in
one call and in a call each; then 50 queries x 100 candidates (bench.rerank). Prints tokens/s, the share of the machine's
measured matrix rate and ratios; writes results/bench/gpu.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench import material, peers, rerank
from bench.machine import machine
from bench.measure import ROOT, say
from bench.pairs import Contender, alternate, times
from m3eval.files import write_json

DENSE, WITH_SPARSE, ALL = ("dense",), ("dense", "sparse"), ("dense", "sparse", "multi_vector")
TEXTS = {128: 16_000, 512: 4_000, 8192: 160}
BATCH_SIZES = {
    128: 512,
    512: 128,
    8192: 8,
}  # FlagEmbedding's; it makes them smaller where memory is short
SHAPE, TINY = (24, 1024, 16), (2, 64, 2)


def matrix_rate(device: str, side: int = 8192) -> float:
    """TFLOP/s of a product of square float16 matrices: the best of several."""
    one, two = (torch.randn(side, side, device=device, dtype=torch.float16) for _ in range(2))
    fastest = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        started = time.perf_counter()
        one @ two
        torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * side**3 / fastest / 1e12


def case(
    name: str,
    ours: tuple,
    theirs: tuple,
    rounds: int,
    tokens: int,
    flops: float,
    rate: float | None,
) -> dict[str, Any]:
    """Both in turn; tokens per second and the share of the matrix rate."""
    say(f"\n{name}")
    contenders = [Contender("ours", *ours), Contender("FlagEmbedding", *theirs)]
    alternate(contenders, rounds)
    report: dict[str, Any] = {"times_as_fast": times(contenders[1], contenders[0])}
    for contender in contenders:
        contender.end()
        summary = contender.summary()
        seconds = summary["seconds"]["median"]
        summary["tokens_per_second"] = round(tokens / seconds)
        if rate:
            summary["share_of_matrix_rate"] = round(flops / seconds / 1e12 / rate, 3)
        report[contender.name] = summary
    say(
        f"{name}: {report['times_as_fast']['median']} times as fast, {report['ours']['tokens_per_second']:,} tokens/s"
    )
    return report


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", nargs="*", default=["128", "512", "8192", "queries", "rerank"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    layers, hidden, heads = TINY if asked.tiny else SHAPE
    cuda, rounds = asked.device.startswith("cuda"), 1 if asked.tiny else asked.rounds
    precision = "fp16" if cuda else "fp32"
    report: dict[str, Any] = {
        "shape": [layers, hidden, heads],
        "precision": precision,
        "machine": machine(),
    }
    rate = None
    if cuda:
        rate = matrix_rate(asked.device)
        report |= {
            "gpu": torch.cuda.get_device_name(asked.device),
            "matrix_tflop_per_s": round(rate, 1),
        }
    with tempfile.TemporaryDirectory() as folder:
        path = material.checkpoint(Path(folder), layers, hidden, heads)
        for length in (length for length in TEXTS if str(length) in asked.only):
            n = TEXTS[length] // (800 if asked.tiny else 1) or 2
            texts = material.long_texts(n, length)
            flops = n * layers * (24 * hidden**2 * length + 4 * hidden * length**2)
            for wanted in (DENSE, WITH_SPARSE, ALL):
                name = f"{length} tokens, {' + '.join(wanted)}"
                report[name] = case(
                    name,
                    (peers.m3eval, path, texts, precision, wanted, asked.device, length),
                    (
                        peers.flag_embedding,
                        path,
                        texts,
                        precision,
                        wanted,
                        asked.device,
                        BATCH_SIZES[length],
                        length,
                    ),
                    rounds,
                    n * length,
                    flops,
                    rate,
                )
        if "queries" in asked.only:
            queries = material.queries(256)
            lengths = material.lengths(queries)
            flops = layers * (24 * hidden**2 * lengths + 4 * hidden * lengths**2).sum()
            for name, alone in (
                ("256 queries in one call", False),
                ("256 queries in a call each", True),
            ):
                ours = (
                    peers.m3eval,
                    path,
                    queries,
                    precision,
                    DENSE,
                    asked.device,
                    material.LIMIT,
                    alone,
                )
                theirs = (
                    peers.flag_embedding,
                    path,
                    queries,
                    precision,
                    DENSE,
                    asked.device,
                    256,
                    material.LIMIT,
                    alone,
                )
                report[name] = case(name, ours, theirs, 3 * rounds, int(lengths.sum()), flops, rate)
        if "rerank" in asked.only:
            sizes = (4, 5, 12) if asked.tiny else (50, 100, 2000)
            report["rerank"] = rerank.case(path, *sizes, asked.device, rounds)
    output = asked.output or (None if asked.tiny else ROOT / "results" / "bench" / "gpu.json")
    if output:
        write_json(output, report)
        say(f"written {output}")


if __name__ == "__main__":
    main()
