"""Asks questions one after the other and writes what is known so far after each row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu.questions import Question
from bench.gpu.scene import Scene
from bench.measure import ROOT, say
from m3eval.files import write_json

LOOK = 0.2  # seconds between two looks at a process


@dataclass
class Asking:
    """A scene's answers, kept in a file."""

    scene: Scene
    output: Path | None  # None: they are only printed
    about: dict[str, Any]  # the machine
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by question

    def ask(self, questions: Iterable[Question], seconds: float) -> None:
        """Asks what has no whole answer yet, while there is time.

        Args:
            questions: in this order.
            seconds: for all of them. One that is under way then is ended; its rows are kept.
        """
        end = time.monotonic() + seconds
        for question in questions:
            known = self.answers.get(question.name, {})
            if "seconds" in known and "error" not in known:
                say(f"{question.name}: known already")
                continue
            answer: dict[str, Any] = {"asks": question.asks}
            self.answers[question.name] = answer
            if question.needs_gpu and not self.scene.cuda:
                answer["left_out"] = f"needs a GPU: {question.needs_gpu}"
            elif (left := end - time.monotonic()) <= 0:
                answer["left_out"] = "the time was up: ask it with --only, or with --resume"
            else:
                self._ask(question, answer, min(left, 60 * question.minutes))
            self._write()
            said = answer.get("left_out") or answer.get("error") or f"{answer['seconds']} s"
            say(f"{question.name}: {said}")

    def _ask(self, question: Question, answer: dict[str, Any], limit: float) -> None:
        """One question to a process of its own."""
        say(f"\n{question.name}: {question.asks}")
        answer["rows"] = {}
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.jsonl"
            file.touch()
            words = [question.answer, json.dumps(asdict(self.scene)), str(file)]
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "bench.gpu.answer", *words],
                cwd=ROOT,
                start_new_session=True,  # contenders are its children, and end with it
            )
            try:
                while process.poll() is None and time.monotonic() < started + limit:
                    time.sleep(LOOK)
                    self._take(file, answer)
                in_time = process.poll() is not None
            finally:
                _end(process)
            self._take(file, answer)
        answer["seconds"] = round(time.monotonic() - started, 1)
        if not in_time:
            answer["error"] = f"ended after {limit:.0f} s, its limit; the rows before are whole"
        elif process.returncode and "error" not in answer:
            answer["error"] = f"its process ended with status {process.returncode}"

    def _take(self, file: Path, answer: dict[str, Any]) -> None:
        """Takes in the rows that are there, and writes where there are new ones."""
        before = dict(answer["rows"])
        # The last line may still be in the making.
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            name, figures = json.loads(line)
            if name == "error":
                answer["error"] = figures
            else:
                answer["rows"][name] = figures
        if answer["rows"] != before:
            self._write()

    def _write(self) -> None:
        if self.output:
            write_json(self.output, self.report())

    def report(self) -> dict[str, Any]:
        """All that is known, with shares of the card's rate where this is known."""
        rates = self.answers.get("card", {}).get("rows", {}).get("matrix products", {})
        if rate := rates.get(self.scene.precision):
            for answer in self.answers.values():
                _add_shares(answer.get("rows", {}), rate)
        return self.about | {"answers": self.answers}


def _add_shares(figures: dict[str, Any], rate: float) -> None:
    """To everything that has a rate of operations, its share of `rate` TFLOP/s."""
    if (reached := figures.get("tflop_per_second")) is not None:
        figures["share_of_matrix_rate"] = round(reached / rate, 3)
    for value in figures.values():
        if isinstance(value, dict):
            _add_shares(value, rate)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
