"""What is written while a model trains: a line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers

from m3eval.console import say

if TYPE_CHECKING:
    from m3eval.training.trainer import Trainer


class StepLog(transformers.TrainerCallback):
    """Loss, its parts and the learning rate of every step. Means would differ after a resume.

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
            self.path.parent.mkdir(parents=True, exist_ok=True)
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
    """The lines of a step log; a line that was cut off when its process ended is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
