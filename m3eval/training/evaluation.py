"""The three stages on a small split while a model trains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3eval.config import Setup, check, compose
from m3eval.files import read_json
from m3eval.stages import embed, evaluate, search


@dataclass(frozen=True)
class HeldOutEvaluation:
    """Words of `m3eval run` that say what a checkpoint is judged by."""

    words: Sequence[str]
    folder: Path  # where its scores go

    def questions(self) -> Iterator[str]:
        """The questions that it asks.

        Raises:
            UserError: the words configure no benchmark.
        """
        for task in self._setup([]).tasks:
            yield from (query.text for query in task.queries)

    def scores(self, encoder_words: Sequence[str], step: int) -> dict[str, float]:
        """The benchmark's first metric, x 100: the mean over languages of each retriever, and all.

        Stores and runs are removed, and the tables kept.

        Args:
            encoder_words: configure the encoder.
            step: after which it is judged.

        Raises:
            UserError: the stages cannot be run so.
        """
        setup = self._setup([*encoder_words, f"encoder.name=step-{step}", "overwrite=true"])
        for stage in (embed, search, evaluate):
            stage.run(setup)
        values = read_json(setup.layout.scores.json)["scores"][str(setup.metrics[0])]
        for folder in (setup.layout.runs, setup.layout.folder / "stores"):
            shutil.rmtree(folder, ignore_errors=True)
        means = {
            retriever: float(np.mean([of[language] for language in setup.languages]))
            for retriever, of in values.items()
        }
        return means | {"mean": float(np.mean([*means.values()]))}

    def _setup(self, words: Sequence[str]) -> Setup:
        return check(compose(*self.words, *words, f"output_dir={self.folder}"))
