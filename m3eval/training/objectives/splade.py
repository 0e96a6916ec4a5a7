"""The objective SPLADE: a masked language model whose scores weigh every term."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from m3eval.encoders.heads import mlm
from m3eval.encoders.splade_files import LOGARITHMS, METADATA, state_splade, stated
from m3eval.errors import UserError
from m3eval.kinds import NOT_EMPTY
from m3eval.lazy import torch
from m3eval.training.losses.contrastive import positives
from m3eval.training.losses.flops import Flops
from m3eval.training.losses.terms import ranking
from m3eval.training.objectives.m3 import lexical_health
from m3eval.training.objectives.objective import Step
from m3eval.training.similarity import Embedded, dense
from m3eval.training.start import Start

if TYPE_CHECKING:
    from torch import nn

    from m3eval.training.models_mlm import TermModel


@dataclass(frozen=True)
class SpladeObjective:
    """Settings: see conf/objective/splade.yaml."""

    flops: Flops = field(default_factory=Flops)
    in_batch_negatives: bool = True
    only_train: Annotated[list[str], NOT_EMPTY] | None = None
    sides: Sequence[str] = ("queries", "documents")
    gathered: Sequence[str] = ("queries", "documents")
    needs_scores: bool = False

    def model(self, start: Start) -> TermModel:
        """The start's language model; pooling, activation and terms are as it says."""
        from m3eval.training.models_mlm import TermModel

        parts, own = language_model(start), stated(folder_of(start))
        self.flops.prepare()
        return TermModel(
            parts,
            own.pooling or "max",
            LOGARITHMS[own.activation],
            {role: k or own.max_active_dims for role, k in start.k_tokens.items()},
        )

    def save(self, model: nn.Module, start: Start, folder: Path) -> None:
        """Writes neural-cherche's layout where the start has it, else sentence-transformers'."""
        save_language_model(model, start, folder)
        source = folder_of(start)
        if (source / METADATA).exists():
            shutil.copy(source / METADATA, folder / METADATA)
        else:
            state_splade(folder, stated(source), start.prefixes)

    def encoder_words(self, folder: Path) -> list[str]:
        """See `Objective`."""
        return ["encoder=splade", f"encoder.checkpoint={folder}"]

    def __call__(
        self, own: Mapping[str, Embedded], everybodys: Mapping[str, Embedded], step: Step
    ) -> dict[str, torch.Tensor]:
        """See `Objective`."""
        queries, documents = own["queries"]["weights"], everybodys["documents"]["weights"]
        positive = positives(len(queries), step.group, step.first, queries.device)
        scores = dense(queries, documents)
        loss = ranking(scores, positive, step.group, self.in_batch_negatives)
        parts = self.flops(everybodys["queries"]["weights"], documents, step.number, step.total)
        return (
            {"loss": loss + parts["regulariser"], "ce_sparse": loss.detach()}
            | {name: value.detach() for name, value in parts.items()}
            | lexical_health("query", own["queries"])
            | lexical_health("document", own["documents"])
        )


def folder_of(start: Start) -> Path:
    """Where the start lies.

    Raises:
        UserError: it is no folder, so it has no language model's head.
    """
    if start.folder is None:
        raise UserError(
            f"start={start.name} has no head that scores a vocabulary: this objective needs a "
            "masked language model, a folder or a name on the hub."
        )
    return start.folder


def language_model(start: Start) -> mlm.Parts:
    """The start's masked language model, to be trained.

    Raises:
        UserError: it has no such head, or one that is built otherwise.
    """
    folder = folder_of(start)
    return mlm.taken_apart(mlm.read(folder, torch.float32).eval(), folder)


def save_language_model(model: nn.Module, start: Start, folder: Path) -> None:
    """Writes transformer, head and tokeniser as transformers reads them."""
    trained: Any = model
    with mlm.whole(trained.parts) as language_model:
        language_model.save_pretrained(folder)
    start.save_tokenizer(folder)
