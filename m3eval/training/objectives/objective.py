"""What an objective is to the trainer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from m3eval.training.similarity import Embedded
from m3eval.training.start import Start

if TYPE_CHECKING:
    import torch
    from torch import nn


class Step(NamedTuple):
    """What an objective knows of a step besides embeddings."""

    number: int  # how many steps were done before
    total: int  # of the whole training
    group: int  # documents of a query
    first: int  # where this process's documents begin among everybody's
    teacher_scores: torch.Tensor | None = None  # [q, group], raw


class Objective(Protocol):
    """A dataclass of settings; its `_target_` stands in conf/objective."""

    @property
    def sides(self) -> Sequence[str]:
        """What of a batch is encoded: queries, documents, negative_queries."""
        ...

    @property
    def gathered(self) -> Collection[str]:
        """Of which sides all processes' texts are needed, and not only this one's."""
        ...

    @property
    def only_train(self) -> Collection[str] | None:
        """Beginnings of the names of parameters that learn; None: all of the model's."""
        ...

    @property
    def needs_scores(self) -> bool:
        """Whether every example must have a reranker's scores."""
        ...

    def model(self, start: Start) -> nn.Module:
        """The encoder: takes a `Side`, gives `Embedded`; its transformer is `.body`.

        Raises:
            UserError: the start cannot be trained so.
        """
        ...

    def save(self, model: nn.Module, start: Start, folder: Path) -> None:
        """Writes the model into an empty folder, as a checkpoint that an encoder reads."""
        ...

    def encoder_words(self, folder: Path) -> list[str]:
        """The words that configure the encoder which reads what `save` wrote."""
        ...

    def __call__(
        self, own: Mapping[str, Embedded], everybodys: Mapping[str, Embedded], step: Step
    ) -> dict[str, torch.Tensor]:
        """The loss of a step as "loss", with gradient, and what to log by name, without.

        Args:
            own: embeddings of this process's texts by side.
            everybodys: those of all processes, of the sides that are `gathered`.
            step: what else there is to know.
        """
        ...
