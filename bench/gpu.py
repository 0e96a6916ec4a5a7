"""Encoding and reranking on a GPU: m3eval against FlagEmbedding, in BGE-M3's full shape and fp16.

    python -m bench.gpu                        needs CUDA and FlagEmbedding (15 minutes on an H200)
    python -m bench.gpu --only 128             one length; also 512, 8192, queries, rerank
    python -m bench.gpu --device cpu --tiny    runs all of it on a small model, to try it; its
                                               figures mean nothing

The checkpoint has 24 layers x 1024 and random weights. Texts have exactly 128, 512 or 8,192 tokens
(longer ones are cut) and are encoded into dense, dense + sparse, and all three representations.
Then come 256 queries in one call and in a call each, and 50 queries x 100 candidates
(bench/rerank.py). Contenders are processes that take turns.

`times_as_fast` is FlagEmbedding's time by m3eval's (median, min, max); `share_of_matrix_rate` is
the rate of floating-point operations, as a share of what float16 matrix products alone reach on
this GPU (`matrix_tflop_per_s`). Writes results/bench/gpu.json.
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
from bench.material import LIMIT
from bench.measure import ROOT, say
from bench.pairs import Contender, alternate, times
from m3eval.files import write_json

DENSE, WITH_SPARSE, ALL = ("dense",), ("dense", "sparse"), ("dense", "sparse", "multi_vector")
TEXTS = {128: 16_000, 512: 4_000, 8192: 160}  # tokens of a text -> number of texts
# FlagEmbedding's; it makes them smaller where memory is short.
BATCH_SIZES = {128: 512, 512: 128, 8192: 8}
SHAPE, TINY = (24, 1024, 16), (2, 64, 2)  # layers, width, heads


def matrix_rate(device: str, side: int = 8192) -> float:
    """TFLOP/s of the fastest of 20 products of square float16 matrices."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.float16) for _ in range(2))
    fastest = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        started = time.perf_counter()
        left @ right
        torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * side**3 / fastest / 1e12


def case(
    name: str,
    ours: tuple,
    peer: tuple,
    rounds: int,
    tokens: int,
    flops: float,
    rate: float | None,
) -> dict[str, Any]:
    """Times m3eval and FlagEmbedding in turn.

    Args:
        name: what is encoded.
        ours: what `Contender` takes, of m3eval.
        peer: the same, of FlagEmbedding.
        rounds: how often each runs.
        tokens: the number of tokens of all texts.
        flops: the floating-point operations that all texts take.
        rate: TFLOP/s of matrix products alone; None where it was not measured.
    """
    say(f"\n{name}")
    contenders = [Contender("ours", *ours), Contender("FlagEmbedding", *peer)]
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
        f"{name}: {report['times_as_fast']['median']} times as fast, "
        f"{report['ours']['tokens_per_second']:,} tokens/s"
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
    options = parser.parse_args()
    layers, hidden, heads = TINY if options.tiny else SHAPE
    device, rounds = options.device, 1 if options.tiny else options.rounds
    cuda = device.startswith("cuda")
    precision = "fp16" if cuda else "fp32"
    report: dict[str, Any] = {
        "shape": [layers, hidden, heads],
        "precision": precision,
        "machine": machine(),
    }
    rate = None
    if cuda:
        rate = matrix_rate(device)
        report |= {
            "gpu": torch.cuda.get_device_name(device),
            "matrix_tflop_per_s": round(rate, 1),
        }
    with tempfile.TemporaryDirectory() as folder:
        path = material.checkpoint(Path(folder), layers, hidden, heads)

        # Each returns a function of bench/peers.py and its arguments, for a process of its own.
        def ours(texts: list[str], wanted: tuple, limit: int, alone: bool = False) -> tuple:
            return peers.m3eval, path, texts, precision, wanted, device, limit, alone

        def flag(
            texts: list[str], wanted: tuple, size: int, limit: int, alone: bool = False
        ) -> tuple:
            return peers.flag_embedding, path, texts, precision, wanted, device, size, limit, alone

        for length in (length for length in TEXTS if str(length) in options.only):
            n = TEXTS[length] // (800 if options.tiny else 1) or 2
            texts = material.long_texts(n, length)
            flops = n * layers * (24 * hidden**2 * length + 4 * hidden * length**2)
            for wanted in (DENSE, WITH_SPARSE, ALL):
                name = f"{length} tokens, {' + '.join(wanted)}"
                peer = flag(texts, wanted, BATCH_SIZES[length], length)
                report[name] = case(
                    name, ours(texts, wanted, length), peer, rounds, n * length, flops, rate
                )
        if "queries" in options.only:
            queries = material.queries(256)
            lengths = material.lengths(queries)
            tokens = int(lengths.sum())
            flops = layers * (24 * hidden**2 * lengths + 4 * hidden * lengths**2).sum()
            for how, alone in (("in one call", False), ("in a call each", True)):
                name = f"256 queries {how}"
                peer = flag(queries, DENSE, 256, LIMIT, alone)
                report[name] = case(
                    name, ours(queries, DENSE, LIMIT, alone), peer, 3 * rounds, tokens, flops, rate
                )
        if "rerank" in options.only:
            sizes = (4, 5, 12) if options.tiny else (50, 100, 2000)
            report["rerank"] = rerank.case(path, *sizes, device, rounds)
    output = options.output or (None if options.tiny else ROOT / "results" / "bench" / "gpu.json")
    if output:
        write_json(output, report)
        say(f"written {output}")


if __name__ == "__main__":
    main()
