"""transformers' Trainer, with our loss, our batches and our checkpoints.

Resuming, mixed precision, several devices and loggers are its own. A checkpoint's folder has the
model in `model/` and what the trainer needs to go on beside it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import broadcast_object_list
from torch import nn
from torch.utils.data import DataLoader

from m3eval.errors import UserError
from m3eval.training import gather
from m3eval.training.batches import Batches
from m3eval.training.collation import Collation
from m3eval.training.data import Examples
from m3eval.training.evaluation import HeldOutEvaluation
from m3eval.training.models import Trained, begins
from m3eval.training.objectives.objective import Objective, Step
from m3eval.training.start import Start

MODEL, WEIGHTS = "model", "weights.pt"


class Trainer(transformers.Trainer):
    """Trains a model with an objective.

    Args:
        objective: gives the loss.
        start: what the model was made from.
        model: the model.
        examples: the data.
        batches: which of them share a step.
        collation: makes tensors of them.
        rates: learning rates by the beginnings of parameters' names; others have the arguments'.
        arguments: of transformers.
        callbacks: of transformers.
        evaluation: what checkpoints are judged by.
    """

    def __init__(
        self,
        objective: Objective,
        start: Start,
        model: Trained,
        examples: Examples,
        batches: Batches,
        collation: Collation,
        rates: Mapping[str, float],
        arguments: transformers.TrainingArguments,
        callbacks: list[transformers.TrainerCallback] | None = None,
        evaluation: HeldOutEvaluation | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=examples,
            # transformers evaluates where there is a data set; ours is not asked for anything.
            eval_dataset=examples if evaluation else None,
            data_collator=collation,
            callbacks=callbacks,
        )
        self.objective, self.start, self.batches, self.rates = objective, start, batches, rates
        self.trained = model  # as no process has wrapped it
        self.group = examples.group
        self.evaluation = evaluation
        self.parts: dict[str, float] = {}

    @property
    def evaluations(self) -> list[tuple[int, dict[str, float]]]:
        """Each step after which there was an evaluation, and its scores."""
        found = []
        for row in self.state.log_history:
            if "eval_mean" in row:
                scores = {k.removeprefix("eval_"): v for k, v in row.items() if k[:5] == "eval_"}
                found.append((row["step"], scores))
        return found

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Our three stages with the model as it is now, in the first process."""
        scores: list[Any] = [None]
        if self.is_world_process_zero() and self.evaluation is not None:
            folder = self.evaluation.folder / MODEL
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.objective.save(self.trained.encoder, self.start, folder)
            words = self.objective.encoder_words(folder)
            scores = [self.evaluation.scores(words, self.state.global_step)]
            shutil.rmtree(folder)
        broadcast_object_list(scores)
        metrics = {f"eval_{name}": value for name, value in scores[0].items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def get_train_dataloader(self) -> DataLoader:
        """Our batches, shared out to the processes by accelerate."""
        loader = DataLoader(
            self.train_dataset,  # pyright: ignore[reportArgumentType]
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The objective's loss; what it tells besides is kept for the log."""
        own = model({side: inputs[side] for side in self.objective.sides})
        everybodys = {side: gather.everybodys(own[side]) for side in self.objective.gathered}
        documents = len(inputs["documents"]["mask"])
        step = Step(
            self.state.global_step,
            self.state.max_steps,
            self.group,
            gather.rank() * documents,
            inputs.get("teacher_scores"),
        )
        parts = self.objective(own, everybodys, step)
        loss = parts.pop("loss")
        self.parts = {name: float(value) for name, value in parts.items()} | {
            "loss": float(loss.detach())
        }
        if not math.isfinite(self.parts["loss"]):
            raise UserError(
                f"The loss is {self.parts['loss']} at step {step.number}: lower "
                "trainer.learning_rate, or train in fp32 (trainer.precision=fp32)."
            )
        return (loss, own) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What loggers are told, with the parts of the last step's loss."""
        parts = self.parts if "loss" in logs else {}
        super().log(logs | {name: parts[name] for name in parts if name != "loss"}, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW or what the arguments name, with a learning rate for each group of parameters."""
        if self.optimizer is None:
            groups: dict[tuple[float, float], list[nn.Parameter]] = {}
            decays = set(self.get_decay_parameter_names(self.trained))
            for name, parameter in self.trained.named_parameters():
                if parameter.requires_grad:
                    decay = self.args.weight_decay if name in decays else 0.0
                    groups.setdefault((self._rate(name), decay), []).append(parameter)
            kind, arguments = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(
                [
                    {"params": parameters, "lr": rate, "weight_decay": decay}
                    for (rate, decay), parameters in groups.items()
                ],
                **arguments,
            )
        return self.optimizer

    def _rate(self, name: str) -> float:
        name = name.removeprefix("encoder.")
        rates = [rate for beginning, rate in self.rates.items() if begins(name, beginning)]
        return rates[0] if rates else self.args.learning_rate

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The checkpoint, and the exact weights of what learns, to go on from."""
        folder = Path(output_dir or self.args.output_dir or ".")
        (folder / MODEL).mkdir(parents=True, exist_ok=True)
        self.objective.save(self.trained.encoder, self.start, folder / MODEL)
        torch.save(learning(self.trained), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights of what learns; all else is as it was at the start."""
        path = Path(resume_from_checkpoint) / WEIGHTS
        weights = torch.load(path, map_location="cpu", weights_only=True)
        load_learning(self.trained, weights)

    def _load_best_model(self) -> None:
        """The weights of the checkpoint with the best evaluation."""
        assert self.state.best_model_checkpoint is not None
        self._load_from_checkpoint(self.state.best_model_checkpoint)


def learning(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that learn, by name, on the host."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def load_learning(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Puts weights in the place of those that learn.

    Raises:
        UserError: they are of another model.
    """
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if parameters.keys() != weights.keys():
        raise UserError(
            "The checkpoint to go on from has other parameters than the objective trains: choose "
            "another name=, or the settings that it was begun with."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
