"""Asks a GPU all that is worth asking, most valuable first, in BGE-M3's full shape and fp16.

    python -m bench.gpu --minutes 25     needs CUDA; FlagEmbedding is said to be missing if it is
    python -m bench.gpu --minutes 9 --resume    goes on with what has no whole answer yet
    python -m bench.gpu --only profile attention
    python -m bench.gpu --tiny           a small model, on a CPU where there is no GPU, to try it
    python -m bench.gpu --list           the questions

The checkpoint has 24 layers x 1024 and random weights. Every question has a process of its own and
a limit of time: one that fails leaves its error, and the next is asked. Contenders take turns in
processes of their own (bench/pairs.py). `share_of_matrix_rate` is the rate of floating-point
operations, as a share of what matrix products alone reach on this card.

Writes results/bench/gpu.json after every row; --tiny only with --output.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.gpu.asking import Asking
from bench.gpu.questions import QUESTIONS
from bench.gpu.scene import Scene
from bench.machine import machine
from bench.measure import ROOT, say


def main() -> None:
    """Asks, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [question.name for question in QUESTIONS]
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--device", help="default: cuda:0, or with --tiny the CPU where none is")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", nargs="+", choices=names, metavar="QUESTION", default=names)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="keep whole answers in the output")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.list:
        for question in QUESTIONS:
            say(f"{question.name:12} {question.asks}")
        return
    device = options.device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not options.tiny:
        parser.error("torch sees no CUDA device here: --tiny tries all of it on the CPU")
    output = options.output or (None if options.tiny else ROOT / "results" / "bench" / "gpu.json")
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(device, options.tiny, folder, 1 if options.tiny else options.rounds)
        say(f"a checkpoint of {scene.shape[0]} layers x {scene.shape[1]}, random weights")
        _ = scene.checkpoint
        about = about_this(scene)
        known = earlier(output, about) if options.resume else {}
        asking = Asking(scene, output, about, known)
        asking.ask([each for each in QUESTIONS if each.name in options.only], 60 * options.minutes)
    if output:
        say(f"written {output}")


def about_this(scene: Scene) -> dict[str, Any]:
    """On what the answers were found."""
    card = torch.cuda.get_device_name(scene.device) if scene.cuda else None
    return {
        "gpu": card,
        "shape": list(scene.shape),
        "precision": scene.precision,
        "cuda": torch.version.cuda,
        "machine": machine(),
    }


def earlier(output: Path | None, about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The answers in a file, where they are of the same card, model and versions."""
    if output is None or not output.exists():
        return {}
    found = json.loads(output.read_text(encoding="utf-8"))

    def of(report: dict[str, Any]) -> list[Any]:
        told = [report.get(name) for name in ("gpu", "shape", "precision", "cuda")]
        return [*told, report.get("machine", {}).get("versions")]

    if of(found) != of(about):
        say(f"{output} is of another card, model or version: all is asked anew")
        return {}
    return found["answers"]


if __name__ == "__main__":
    main()
