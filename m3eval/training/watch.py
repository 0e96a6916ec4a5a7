"""What is written while a model trains and at its end: a line a step, a table, a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.files import whole_file
from m3eval.training.plot import plot

if TYPE_CHECKING:
    from m3eval.training.trainer import Trainer

LEAST = 1e-9  # below, fp32 holds no difference but in weights that began as zeros
HEALTH = ("empty_query", "terms_query", "empty_document", "terms_document")


class StepLog(transformers.TrainerCallback):
    """Loss, its parts and what else an objective tells, of every step.

    Means over several steps would be others after an interruption.

    Args:
        path: of the file.
        every: steps between two lines for people.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.trainer: Trainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drops the lines of steps that will be done again."""
        if state.is_world_process_zero:
            kept = [row for row in read_steps(self.path) if row["step"] <= state.global_step]
            self.path.write_text("".join(f"{json.dumps(row)}\n" for row in kept), "utf-8")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Adds the line of a step."""
        if not state.is_world_process_zero or self.trainer is None:
            return
        row = {"step": state.global_step, "epoch": state.epoch, **self.trainer.parts}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            parts = "  ".join(f"{name} {value:.4g}" for name, value in self.trainer.parts.items())
            say(f"  step {state.global_step:>6,} of {state.max_steps:,}  {parts}")


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a step log; one that was cut off when its process was killed is left out."""
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def moved(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """How far weights are from where they began, relative to their length there, by part.

    Raises:
        UserError: none moved: the checkpoint would be its own start.
    """
    squares: dict[str, np.ndarray] = {}
    for name, weights in after.items():
        part = ".".join(name.removeprefix("encoder.").split(".")[:2])
        difference = (weights - before[name]).double().square().sum()
        own = np.array([difference, before[name].double().square().sum()])
        squares[part] = squares.get(part, np.zeros(2)) + own
    found = {
        part: float(np.sqrt(change / length)) if length else float(np.sqrt(change))
        for part, (change, length) in squares.items()
    }
    if max(found.values()) < LEAST:
        raise UserError(
            "No weight is another than at the start: raise trainer.learning_rate, or name what "
            "learns in objective.only_train."
        )
    return found


def report(folder: Path, title: str, movement: Mapping[str, float], scores: Sequence[Any]) -> None:
    """Writes training.md and training.svg beside a training's step log.

    Args:
        folder: of the training.
        title: its name.
        movement: what `moved` gives.
        scores: (step, retriever -> score) of each evaluation.
    """
    rows = read_steps(folder / "steps.jsonl")
    names = [name for name in rows[-1] if name not in ("step", "epoch")]
    tenth = max(1, len(rows) // 10)
    lines = [f"# {title}", "", f"{len(rows):,} steps. Means over the first and the last {tenth:,}:"]
    lines += ["", "| | first | last |", "|---|---|---|"]
    for name in ["loss", *(name for name in names if name != "loss")]:
        first, last = (
            np.mean([row[name] for row in part if name in row] or [np.nan])
            for part in (rows[:tenth], rows[-tenth:])
        )
        lines.append(f"| {name} | {first:.4g} | {last:.4g} |")
    lines += ["", "How far weights moved, relative to their length at the start:", ""]
    lines += ["| part | moved |", "|---|---|"]
    lines += [f"| {part} | {value:.2e} |" for part, value in movement.items()]
    if scores:
        systems = list(scores[0][1])
        lines += ["", f"| step | {' | '.join(systems)} |", "|---" * (1 + len(systems)) + "|"]
        lines += [
            f"| {step:,} | {' | '.join(f'{of[name]:.2f}' for name in systems)} |"
            for step, of in scores
        ]
    with whole_file(folder / "training.md") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    curves = {"loss": [(row["step"], row["loss"]) for row in rows]}
    curves |= {
        name: [(row["step"], row[name]) for row in rows if name in row]
        for name in HEALTH
        if name in names
    }
    if scores:
        curves["score"] = [(step, of["mean"]) for step, of in scores]
    with whole_file(folder / "training.svg") as part:
        part.write_text(plot(curves), encoding="utf-8")
    say(f"report     {folder / 'training.md'}, training.svg")
    warn(rows)


def warn(rows: Sequence[Mapping[str, float]]) -> None:
    """Says where lexical vectors became empty, which no loss shows."""
    for name in ("empty_query", "empty_document"):
        if (share := rows[-1].get(name, 0.0)) > 0.1:
            say(
                f"warning    {share:.0%} of the last step's texts have no lexical weight "
                f"({name}): see steps.jsonl for when that began; a lower learning rate for "
                "heads.sparse, or more weight of sparse in objective.loss.loss_weights, helps."
            )
