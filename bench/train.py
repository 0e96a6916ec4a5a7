"""Training M3 in BGE-M3's full shape: tokens a second, and the memory that a batch takes.

    python -m bench.train                        needs CUDA (20 minutes on an H200)
    python -m bench.train --device cpu --tiny    runs all of it on a small model, to try it; its
                                                 figures mean nothing

The checkpoint has 24 layers x 1024 and random weights; texts have exactly 512 or 8,192 tokens. All
three heads learn, with self-distillation, in bf16: with all activations kept, with gradient
checkpointing, and with a gradient cache. The time of a step is that of 24 steps less that of 8, by
16. Writes results/bench/train.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench import material
from bench.machine import machine
from bench.measure import ROOT, say
from m3eval.commands import train
from m3eval.config import Setup, compose
from m3eval.files import write_json

SHAPE, TINY = (24, 1024, 16), (2, 64, 2)  # layers, width, heads
GROUP, QUERY = 8, 64  # documents of a question; tokens of a question
# How memory is saved -> words.
WAYS = {
    "activations kept": (),
    "gradient checkpointing": ("trainer.gradient_checkpointing=true",),
    "gradient cache": ("trainer.gradient_cache=true", "trainer.part_size=16"),
}
FEW, MANY = 8, 24  # steps


def main() -> None:
    """Runs every case and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--batch", type=int, default=16, help="questions of a step at 512 tokens")
    arguments = parser.parse_args()
    tokens = (64,) if arguments.tiny else (512, 8192)
    cases = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = material.checkpoint(folder, *(TINY if arguments.tiny else SHAPE))
        for length in tokens:
            batch = max(2, arguments.batch * tokens[0] // length)
            data = examples(folder / f"{length}.jsonl", length, batch * MANY)
            for way, words in WAYS.items():
                cases.append(case(checkpoint, data, length, batch, way, words, arguments.device))
                say(json.dumps(cases[-1]))
    name = "train-tiny.json" if arguments.tiny else "train.json"
    target = Path(tempfile.gettempdir()) if arguments.tiny else ROOT / "results/bench"
    write_json(target / name, {"cases": cases, "machine": machine()})
    say(f"written    {target / name}")


def examples(path: Path, length: int, count: int) -> Path:
    """Writes examples whose documents have more than `length` tokens, to be cut there."""
    texts = material.long_texts(count * GROUP, length)
    rows = (
        {"query": own[0][:200], "pos": own[:1], "neg": own[1:]}
        for own in (texts[i * GROUP : (i + 1) * GROUP] for i in range(count))
    )
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def case(
    checkpoint: Path, data: Path, length: int, batch: int, way: str, words: Any, device: str
) -> dict[str, Any]:
    """What one way of saving memory takes; where it does not fit, that."""
    seconds = {}
    try:
        for steps in (FEW, MANY):
            if device.startswith("cuda"):
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            run(checkpoint, data, length, batch, steps, device, *words)
            seconds[steps] = time.perf_counter() - started
    except torch.OutOfMemoryError:
        return {"tokens": length, "batch": batch, "way": way, "out_of_memory": True}
    a_step = (seconds[MANY] - seconds[FEW]) / (MANY - FEW)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else None
    return {
        "tokens": length,
        "batch": batch,
        "way": way,
        "seconds_a_step": round(a_step, 4),
        "tokens_a_second": round(batch * (GROUP * length + QUERY) / a_step),
        "peak_gib": peak and round(peak, 1),
    }


def run(
    checkpoint: Path, data: Path, length: int, batch: int, steps: int, device: str, *words: str
) -> None:
    """One training, whose result is thrown away."""
    given = (
        "name=bench",
        f"start={checkpoint}",
        f"data.files=[{data}]",
        f"data.group={GROUP}",
        f"data.batch_sizes=[[{length},{batch}]]",
        f"data.max_query_length={QUERY}",
        f"data.max_document_length={length}",
        f"trainer.steps={steps}",
        f"trainer.precision={'bf16' if device.startswith('cuda') else 'fp32'}",
        f"runtime.device={device}",
        f"output_dir={checkpoint.parent / 'outputs'}",
        "overwrite=true",
    )
    train.run(Setup(compose(*given, *words, config="train")))


if __name__ == "__main__":
    main()
