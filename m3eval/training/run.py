"""A whole training: from settings to a checkpoint."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import accelerate
import transformers
from transformers.trainer_utils import get_last_checkpoint

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.files import write_folder
from m3eval.provenance import versions
from m3eval.runtime import Runtime
from m3eval.training import gather, leaks, record, watch
from m3eval.training.batches import Batches, LengthGroup, length_groups
from m3eval.training.collation import Collation
from m3eval.training.data import Example, Examples, check, files_of, read, texts_of
from m3eval.training.evaluation import HeldOutEvaluation
from m3eval.training.models import Trained, freeze
from m3eval.training.objectives.objective import Objective
from m3eval.training.settings import DataSettings, TrainerSettings
from m3eval.training.start import Start
from m3eval.training.states import computed
from m3eval.training.trainer import MODEL, Trainer, learning
from m3eval.training.watch import StepLog


@dataclass(frozen=True)
class Training:
    """What is to be trained, on what and how."""

    folder: Path
    objective: Objective
    start: Start
    data: DataSettings
    settings: TrainerSettings
    runtime: Runtime
    seed: int
    configured: Mapping[str, Any]  # objective, data, trainer and seed as they were configured
    overwrite: bool

    def __call__(self) -> Path:
        """Trains, or goes on training; returns the checkpoint's folder.

        Raises:
            UserError: data, model and settings do not fit together, or nothing was learnt.
        """
        accelerate.PartialState(cpu=self.runtime.device == "cpu")  # joins the other processes
        self.runtime.set_up_torch()
        examples = read(self.data.files)
        check(
            examples,
            self.data.group,
            self.objective.needs_scores,
            "negative_queries" in self.objective.sides,
        )
        evaluation = self._evaluation(examples)
        target = self.folder / MODEL
        if self._begun() and target.exists():
            say(f"finished   {target} was trained so already; begin anew with overwrite=true")
            return target
        transformers.set_seed(self.seed)
        model = self.objective.model(self.start)
        freeze(model, self.objective.only_train)
        trainer = self._trainer(model, examples, evaluation)
        last = get_last_checkpoint(str(self.folder))
        if last:
            say(f"resume     from {last}")
        transformers.utils.logging.disable_progress_bar()
        beginning = learning(trainer.trained)
        trainer.train(resume_from_checkpoint=last)
        movement = watch.moved(beginning, learning(trainer.trained))
        if trainer.is_world_process_zero():
            write_folder(target, lambda part: self.objective.save(model, self.start, part))
            watch.report(self.folder, self.folder.name, movement, trainer.evaluations)
        return target

    def _begun(self) -> bool:
        """Whether this very training was begun before. Another one in its folder is refused."""
        if self.overwrite and gather.rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
        made = record.TrainingRecord(
            settings=dict(self.configured),
            data=record.hashed(files_of(self.data.files)),
            start=self.start.files,
            processes=gather.processes(),
            made_with=versions(self.runtime),
        )
        with accelerate.PartialState().main_process_first():
            return record.begin(self.folder, made)

    def _evaluation(self, examples: list[Example]) -> HeldOutEvaluation | None:
        """What checkpoints are judged by, none of whose questions may be in the training data."""
        if self.settings.evaluate_every is None:
            return None
        if not self.settings.evaluation:
            raise UserError(
                "trainer.evaluate_every is given, and trainer.evaluation= not: words of m3eval "
                "run, as in [benchmark=demo,'languages=[ko]'], say what to evaluate."
            )
        evaluation = HeldOutEvaluation(self.settings.evaluation, self.folder / "evaluation")
        leaks.check(examples, evaluation.questions())
        return evaluation

    def _trainer(
        self, model: Any, examples: list[Example], evaluation: HeldOutEvaluation | None
    ) -> Trainer:
        settings, body = self.settings, model.get_submodule("body")
        frozen = not any(parameter.requires_grad for parameter in body.parameters())
        if settings.gradient_checkpointing:
            body.gradient_checkpointing_enable()
        collation = Collation(
            self.start.tokenization,
            self.start.prefixes,
            self.start.suffixes,
            self.data.max_lengths,
            self.start.checkpoint.special["pad"],
        )
        groups = self._groups(examples, collation)
        keys = [frozenset([each.query, *each.positives]) for each in examples]
        batches = Batches(groups, keys, gather.processes(), self.seed)
        if not len(batches):
            raise UserError(
                f"{len(examples):,} examples do not fill one step: lower data.batch_sizes, or set "
                "data.by_source=false."
            )
        if frozen and settings.cache_states:
            with accelerate.PartialState().main_process_first():
                place = self.folder.parent / "states"
                texts = list(texts_of(examples))
                states = computed(
                    place,
                    self.start,
                    texts,
                    collation.tokenize,
                    self.data.max_lengths,
                    self.runtime,
                )
            collation = replace(collation, states=states)
        log = StepLog(self.folder / "steps.jsonl", settings.log_every)
        trainer = Trainer(
            self.objective,
            self.start,
            Trained(model, settings.part_size, settings.gradient_cache, frozen_body=frozen),
            Examples(examples, self.data.group, self.seed),
            batches,
            collation,
            settings.learning_rates,
            self._arguments(len(batches) // gather.processes()),
            [log],
            evaluation,
        )
        log.trainer = trainer
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer

    def _groups(self, examples: list[Example], collation: Collation) -> list[LengthGroup]:
        """The length groups, and a line about each."""
        documents = [[*each.positives, *each.negatives] for each in examples]
        distinct = list(dict.fromkeys(itertools.chain.from_iterable(documents)))
        ids = collation.tokenize(distinct, "document")
        length = dict(zip(distinct, map(len, ids), strict=True))
        longest = [max(length[text] for text in texts) for texts in documents]
        sources = [example.source for example in examples]
        groups = length_groups(longest, sources, self.data.batch_sizes, self.data.by_source)
        for group in groups:
            count, step = len(group.members), group.size * gather.processes()
            never = "" if count >= step else f": NONE is seen, a step takes {step}"
            say(f"  {group.name}: {count:,} examples, {group.size} a batch{never}")
        return groups

    def _arguments(self, batches: int) -> transformers.TrainingArguments:
        """The settings in transformers' words.

        Args:
            batches: of a process in an epoch.
        """
        settings = self.settings
        steps = settings.steps or math.ceil(settings.epochs * -(-batches // settings.accumulation))
        every = settings.save_every or settings.evaluate_every
        save: dict[str, Any] = {"save_strategy": "no"}
        if every:
            save = {"save_strategy": "steps", "save_steps": every}
        if settings.evaluate_every:
            if every != settings.evaluate_every:
                raise UserError(
                    f"trainer.save_every={every}: where checkpoints are evaluated it must be "
                    f"trainer.evaluate_every={settings.evaluate_every}, or null."
                )
            save |= {
                "eval_strategy": "steps",
                "eval_steps": every,
                "metric_for_best_model": "eval_mean",
                "greater_is_better": True,
                "load_best_model_at_end": True,
            }
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
            dataloader_pin_memory=self.runtime.device != "cpu",
            **save,
        )
