"""A whole training: from a configuration to a checkpoint."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import accelerate
import transformers
from transformers.trainer_utils import get_last_checkpoint

from m3eval.benchmarks.texts import Role
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.files import write_folder
from m3eval.runtime import Runtime
from m3eval.training import gather
from m3eval.training.batches import Batches, LengthGroup, length_groups
from m3eval.training.collation import Collation
from m3eval.training.data import Example, Examples, check, texts_of
from m3eval.training.models import Trained, freeze
from m3eval.training.objectives.objective import Objective
from m3eval.training.start import Start
from m3eval.training.states import computed
from m3eval.training.trainer import MODEL, Trainer
from m3eval.training.watch import StepLog

STEPS = "steps.jsonl"


@dataclass(frozen=True)
class DataSettings:
    """conf/data/files.yaml explains each."""

    files: list[str]
    group: int
    batch_sizes: list[tuple[int, int]]
    by_source: bool
    max_query_length: int
    max_document_length: int

    @property
    def max_lengths(self) -> dict[Role, int]:
        """Tokens of a text of each role."""
        return {"query": self.max_query_length, "document": self.max_document_length}


@dataclass(frozen=True)
class TrainerSettings:
    """conf/trainer/default.yaml explains each."""

    epochs: float
    steps: int | None
    learning_rate: float
    learning_rates: Mapping[str, float]
    warmup: float
    schedule: str
    weight_decay: float
    max_gradient: float
    accumulation: int
    precision: str
    part_size: int | None
    gradient_cache: bool
    gradient_checkpointing: bool
    cache_states: bool
    save_every: int | None
    keep: int
    log_every: int
    report_to: list[str]


@dataclass(frozen=True)
class Training:
    """What is to be trained, on what and how."""

    folder: Path
    objective: Objective
    start: Start
    examples: list[Example]
    data: DataSettings
    trainer: TrainerSettings
    runtime: Runtime
    seed: int

    def __call__(self) -> Path:
        """Trains, or goes on training, and returns the checkpoint's folder.

        Raises:
            UserError: data, model and settings do not fit together.
        """
        accelerate.PartialState(cpu=self.runtime.device == "cpu")  # joins the other processes
        transformers.set_seed(self.seed)
        self.runtime.set_torch_threads()
        check(self.examples, self.data.group)
        model = self.objective.model(self.start)
        freeze(model, self.objective.only_train)
        body = model.get_submodule("body")
        frozen = not any(parameter.requires_grad for parameter in body.parameters())
        if self.trainer.gradient_checkpointing:
            body.gradient_checkpointing_enable()  # pyright: ignore[reportCallIssue]
        special = self.start.checkpoint.special
        collation = Collation(
            self.start.tokenization, self.start.prefixes, self.data.max_lengths, special["pad"]
        )
        groups = self._groups(collation)
        if frozen and self.trainer.cache_states:
            texts = list(texts_of(self.examples))
            states = computed(
                self.folder.parent / "states", self.start, texts, collation, self.runtime
            )
            collation = Collation(
                self.start.tokenization,
                self.start.prefixes,
                self.data.max_lengths,
                special["pad"],
                states,
            )
        batches = Batches(groups, self._keys(), gather.processes(), self.seed)
        if not len(batches):
            raise UserError(
                f"{len(self.examples):,} examples do not fill one step: lower data.batch_sizes, or "
                "set data.by_source=false."
            )
        log = StepLog(self.folder / STEPS, self.trainer.log_every)
        trained = Trained(
            model, self.trainer.part_size, self.trainer.gradient_cache, frozen_body=frozen
        )
        trainer = Trainer(
            self.objective,
            self.start,
            trained,
            Examples(self.examples, self.data.group, self.seed),
            batches,
            collation,
            self.trainer.learning_rates,
            self._arguments(len(batches) // gather.processes()),
            [log],
        )
        log.trainer = trainer
        trainer.remove_callback(transformers.PrinterCallback)
        last = get_last_checkpoint(str(self.folder)) if self.folder.is_dir() else None
        if last:
            say(f"resume     from {last}")
        transformers.utils.logging.disable_progress_bar()
        trainer.train(resume_from_checkpoint=last)
        target = self.folder / MODEL
        if trainer.is_world_process_zero():
            shutil.rmtree(target, ignore_errors=True)
            write_folder(target, lambda part: self.objective.save(model, self.start, part))
        return target

    def _groups(self, collation: Collation) -> list[LengthGroup]:
        """The length groups, and a line about each."""
        documents = [[*each.positives, *each.negatives] for each in self.examples]
        distinct = list(dict.fromkeys(itertools.chain.from_iterable(documents)))
        ids = collation.tokenize(distinct, "document")
        length = dict(zip(distinct, map(len, ids), strict=True))
        longest = [max(length[text] for text in texts) for texts in documents]
        sources = [example.source for example in self.examples]
        groups = length_groups(longest, sources, self.data.batch_sizes, self.data.by_source)
        for group in groups:
            say(f"  {group.name}: {len(group.members):,} examples, {group.size} a batch")
        return groups

    def _keys(self) -> list[frozenset[str]]:
        return [frozenset([each.query, *each.positives]) for each in self.examples]

    def _arguments(self, batches: int) -> transformers.TrainingArguments:
        """The settings in transformers' words.

        Args:
            batches: of a process in an epoch.
        """
        settings = self.trainer
        steps = settings.steps or math.ceil(settings.epochs * -(-batches // settings.accumulation))
        save = {"save_strategy": "no"}
        if settings.save_every:
            save = {"save_strategy": "steps", "save_steps": settings.save_every}
        return transformers.TrainingArguments(
            output_dir=str(self.folder),
            max_steps=steps,
            learning_rate=settings.learning_rate,
            warmup_steps=math.ceil(settings.warmup * steps),
            lr_scheduler_type=settings.schedule,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_gradient,
            gradient_accumulation_steps=settings.accumulation,
            bf16=settings.precision == "bf16",
            fp16=settings.precision == "fp16",
            use_cpu=self.runtime.device == "cpu",
            save_total_limit=settings.keep,
            logging_steps=settings.log_every,
            report_to=settings.report_to,
            seed=self.seed,
            remove_unused_columns=False,
            disable_tqdm=True,
            per_device_train_batch_size=1,  # batches have their own sizes
            accelerator_config={"even_batches": False, "dispatch_batches": False},
            ddp_find_unused_parameters=False,
            dataloader_pin_memory=self.runtime.device != "cpu",
            **save,
        )
