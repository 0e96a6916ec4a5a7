"""Stage 0 as a user calls it: from files of texts to finished stores."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import material
from bench.gpu.scene import ALL, DENSE, Row, Scene
from bench.measure import ROOT

TEXTS = {"dense": 40_000, "all": 8_000}


def whole(scene: Scene) -> Iterator[Row]:
    """Documents of a Wikipedia corpus' lengths into stores of dense vectors, then of all three.

    `seconds` are those of the whole command, imports and loading included; `tokens_per_second` are
    those that the stage records of the corpus.
    """
    for name, wanted in (("dense", DENSE), ("all", ALL)):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            _write(folder / "data", scene.size(TEXTS[name]))
            settings = [
                "encoder=bge_m3",
                f"encoder.checkpoint={scene.checkpoint}",
                "encoder.name=random",
                "benchmark=folder",
                "benchmark.name=speed",
                "benchmark.language=en",
                f"benchmark.root={folder / 'data'}",
                "retriever=[dense]",
                f"representations=[{','.join(wanted)}]",
                f"runtime.device={scene.device}",
                f"runtime.precision={scene.precision}",
                f"output_dir={folder / 'out'}",
            ]
            started = time.perf_counter()
            subprocess.run([sys.executable, "step0_embed.py", *settings], cwd=ROOT, check=True)
            seconds = time.perf_counter() - started
            yield name, {"seconds": round(seconds, 2)} | _recorded(folder / "out")


def _write(folder: Path, n: int) -> None:
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for i, text in enumerate(material.documents(n)):
            file.write(json.dumps({"docid": f"d{i}", "text": text}) + "\n")
    (folder / "queries.tsv").write_text("q0\twhat is it\n")
    (folder / "qrels.tsv").write_text("q0 0 d0 1\n")


def _recorded(output: Path) -> dict[str, object]:
    """What the corpus' store says of its making."""
    costs = [json.loads(path.read_text()) for path in output.rglob("cost.json")]
    cost = max(costs, key=lambda each: each["tokens"])
    rate = round(cost["tokens"] / cost["seconds"])
    return cost | {"tokens_per_second": rate}
