"""A small world for faults: a corpus, the words of the stages, what they write when undisturbed."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import words

ROOT = Path(__file__).resolve().parents[2]
CONF = Path(__file__).resolve().parent / "conf"
RETRIEVERS = ("dense", "sparse", "multi_vector", "dense_sparse", "all", "bm25s")
STAGES = ("embed", "search", "evaluate")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int  # negative: by a signal
    out: str  # all that it printed

    def __str__(self) -> str:
        return f"status {self.status}\n{self.out}"


class Zygote:
    """Starts commands as forks of a process that has imported everything."""

    def __init__(self) -> None:
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | single | environment,
        )
        self.folder = Path(tempfile.mkdtemp())
        self.outs: dict[int, Path] = {}
        self.numbers = itertools.count()  # process ids come again

    def start(self, *command: str, fault: dict | None = None, cwd: Path = ROOT, **more: Any) -> int:
        """Starts a command; gives its process id."""
        out = self.folder / f"{next(self.numbers)}.txt"
        asked = {"words": command, "out": str(out), "fault": fault, "cwd": str(cwd), **more}
        pid = self._ask({"start": asked})["pid"]
        self.outs[pid] = out
        return pid

    def wait(self, pid: int) -> Ended:
        """Waits for the end of a command."""
        status = self._ask({"wait": pid})["status"]
        return Ended(status, self.outs[pid].read_text(errors="backslashreplace"))

    def run(self, *command: str, **more: Any) -> Ended:
        """Runs a command to its end."""
        return self.wait(self.start(*command, **more))

    def stop(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.folder)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@dataclass
class World:
    """A corpus and the words that run stages over it."""

    root: Path  # of the corpus
    zygote: Zygote
    retrievers: tuple[str, ...] = RETRIEVERS
    settings: tuple[str, ...] = ()
    languages: dict[str, int] = field(default_factory=lambda: {"en": 12, "sw": 7})  # documents

    def make(self) -> None:
        """Writes the corpus."""
        for language, n in self.languages.items():
            folder = self.root / language
            folder.mkdir(parents=True)
            texts = [words(1000 * len(language) + i, 5 + i % 7) for i in range(n)]
            rows = [
                {"docid": f"{language}{i}", "title": words(i, 1), "text": text}
                for i, text in enumerate(texts)
            ]
            write_lines(folder / "corpus.jsonl", map(json.dumps, rows))
            # A query has words of two documents, and another two are relevant, too: scores that a
            # little damage would move.
            chosen = [random.Random(i).sample(range(n), 4) for i in range(4)]
            asked = [" ".join(texts[a].split()[:3] + texts[b].split()[:2]) for a, b, *_ in chosen]
            write_lines(folder / "queries.tsv", (f"q{i}\t{text}" for i, text in enumerate(asked)))
            judged = (
                (i, d, 3 - k) for i, four in enumerate(chosen) for k, d in enumerate(four[1:])
            )
            write_lines(folder / "qrels.tsv", (f"q{i} 0 {language}{d} {g}" for i, d, g in judged))

    def words(self, output: Path, *more: str) -> list[str]:
        """The settings of a command that writes to an output folder."""
        given = {word.partition("=")[0] for word in more}
        own = [
            "benchmark=folder",
            f"benchmark.root={self.root}",
            "benchmark.name=small",
            "encoder=fake",
            f"retriever=[{','.join(self.retrievers)}]",
            "retriever.bm25s.stemmer=null",
            "retriever.bm25s.stop_words=null",
            "runtime.threads=1",
            "runtime.processes=1",
            "runtime.device=cpu",
            "runtime.precision=fp32",
            "runtime.shard_size=5",
            f"output_dir={output}",
            *self.settings,
        ]
        own = [word for word in own if word.partition("=")[0] not in given]
        if "bm25s" not in "".join(word for word in (*own, *more) if word.startswith("retriever=")):
            own = [word for word in own if ".bm25s." not in word]
        return [*own, *more, "--config-dir", str(CONF)]

    def run(self, command: str, output: Path, *more: str, **options: Any) -> Ended:
        """Runs a stage, or `run` for all three."""
        return self.zygote.run(command, *self.words(output, *more), **options)


def write_lines(path: Path, lines) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# What may differ between two outputs that say the same: times, and what was called when.
def counts(path: Path) -> bool:
    return not (path.name.endswith(("cost.json", ".lock")) or "logs" in path.parts)


def snapshot(output: Path) -> dict[str, bytes]:
    """The bytes of every file that counts, by name.

    The output folder's own name is taken out of a result, and the seal that holds it.
    """
    files = {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and counts(path.relative_to(output))
    }
    for name, content in files.items():
        if name.endswith("scores.json"):
            content = content.replace(str(output).encode(), b"OUTPUT")
            files[name] = re.sub(rb'"sealed": "[0-9a-f]{64}"', b"", content)
    return files


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of files that differ or are in one only."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def before(stage: str, undisturbed: Path, output: Path) -> Path:
    """Copies an output folder as it is before a stage: without what that and later ones write."""
    shutil.copytree(undisturbed, output)
    for later, folder in zip(STAGES, ("stores", "runs", "scores"), strict=True):
        if STAGES.index(later) >= STAGES.index(stage):
            shutil.rmtree(output / "small" / "fake" / folder)
    return output
