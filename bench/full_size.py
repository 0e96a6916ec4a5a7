"""BGE-M3's own shape: m3eval against FlagEmbedding, 24 layers x 1024, dense vectors.

    python -m bench.full_size                           13 minutes on 2 cores
    python -m bench.full_size --documents 200 --long 4  more than an hour
    python -m bench.full_size --quick                   a small model; writes only with --output

The checkpoint has BGE-M3's layout, 250,037 tokens, 8,192 positions and random weights in float32;
it is made once, in outputs/bench (2.3 GB). `documents` are texts of 128 to 512 tokens, `long` ones
of 8,192. All contenders encode the same texts. FlagEmbedding has the best of several batch sizes,
which is looked for with some of the documents; long texts go one by one. FlagEmbedding computes
its first batch twice, to see whether it fits into memory: of few batches that is a large part.

Every contender is a process of its own with all cores, and they take turns. `peak_gib` is the peak
of its process up to then, the loading of the model included: the documents come first. `ratios` say
how many times as long FlagEmbedding took as m3eval. Writes results/bench/full_size.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from bench import material, peers
from bench.machine import machine
from bench.measure import ROOT, say
from bench.pairs import Contender, best_of, in_rounds, times
from m3eval.files import write_json

SHAPE, SMALL = (24, 1024, 16), (2, 64, 2)  # layers, width, heads
LONGEST = 8192
BATCH_SIZES = (2, 4, 8)
SAMPLE = 8  # documents by which FlagEmbedding's batch size is chosen
DENSE = ("dense",)
PEER = "FlagEmbedding fp32 best"
OURS = {"ours fp32": "fp32", "ours bf16": "bf16", "ours int8": "int8"}


def documents(n: int) -> list[str]:
    """Makes `n` texts of 128 to 512 tokens."""
    sizes = np.random.default_rng(0).integers(128, 460, n)  # the last sentence comes on top
    return [material.long_texts(1, int(size), seed)[0] for seed, size in enumerate(sizes)]


def part(
    contenders: dict[str, Contender], texts: list[str], rounds: int, **of_peer: Any
) -> dict[str, Any]:
    """Times all contenders on some texts.

    Args:
        contenders: by name, warmed up.
        texts: what each encodes.
        rounds: how often.
        of_peer: what chooses FlagEmbedding's work besides.
    """
    lengths = material.lengths(texts, LONGEST)
    say(f"\n{len(texts)} texts, {lengths.sum():,} tokens")
    vectors = {}
    for contender in contenders.values():
        contender.forget()
    for i in range(rounds):
        order = [*contenders.values()]
        for contender in order if i % 2 else order[::-1]:
            chosen = of_peer if contender.name == PEER else {}
            vectors |= in_rounds([contender], 1, texts=texts, **chosen)
    report: dict[str, Any] = {
        "texts": len(texts),
        "tokens": int(lengths.sum()),
        "contenders": {},
        "ratios": {f"{PEER} / {name}": times(contenders[PEER], contenders[name]) for name in OURS},
    }
    for name, contender in contenders.items():
        summary = contender.summary()
        for clock in ("seconds", "cpu_seconds"):
            rate = round(lengths.sum() / summary[clock]["median"], 1)
            summary["tokens_per_second" if clock == "seconds" else "tokens_per_cpu_second"] = rate
        difference = np.abs(vectors[name] - vectors["ours fp32"]).max()
        summary["largest_difference_to_ours"] = float(difference)
        report["contenders"][name] = summary
        say(f"{name}: {summary['tokens_per_second']:,} tokens/s, {summary['peak_gib']} GiB")
    for name, value in report["ratios"].items():
        say(f"{name}: {value['median']} times")
    return report


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 layers x 64, 8 documents, 1 long")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--long", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "bench")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    layers, width, heads = SMALL if options.quick else SHAPE
    path = material.checkpoint(options.folder, layers, width, heads)
    texts = documents(options.documents or (8 if options.quick else 24))
    long = material.long_texts(options.long, LONGEST)
    say("FlagEmbedding's best batch size, on some of the documents")
    best = best_of(
        {
            size: (peers.flag_embedding, path, texts[:SAMPLE], "fp32", DENSE, "cpu", size, LONGEST)
            for size in BATCH_SIZES
        },
        texts=texts[:1],
    )
    made = {name: (peers.m3eval, path, [], precision) for name, precision in OURS.items()}
    contenders = {
        name: Contender(name, *what, DENSE, "cpu", LONGEST) for name, what in made.items()
    }
    contenders[PEER] = Contender(
        PEER, peers.flag_embedding, path, [], "fp32", DENSE, "cpu", best, LONGEST
    )
    for contender in contenders.values():
        contender.run(warm=True, texts=texts[:1])
    report = {
        "checkpoint": f"M3, {layers} layers x {width}, random weights",
        "best_batch_size": best,
        "documents": part(contenders, texts, options.rounds),
        "long": part(contenders, long, options.rounds, batch_size=1),
    }
    for contender in contenders.values():
        contender.end()
    report["machine"] = machine()
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "full_size.json"
    )
    if output:
        write_json(output, report)
        say(f"written {output}")


if __name__ == "__main__":
    main()
