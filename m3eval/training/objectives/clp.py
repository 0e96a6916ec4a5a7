"""The objective CLP: dense vectors, contrastive learning with a penalty, mixtures of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from m3eval.encoders.stated import state
from m3eval.kinds import NOT_EMPTY, Count
from m3eval.lazy import torch
from m3eval.training.losses.clp import CLPLoss
from m3eval.training.losses.contrastive import positives
from m3eval.training.objectives.objective import Step
from m3eval.training.similarity import Embedded, dense
from m3eval.training.start import Start

if TYPE_CHECKING:
    from torch import nn

    from m3eval.training.models import M3Model


@dataclass(frozen=True)
class Mixture:
    """What becomes a mixture of experts."""

    part: Literal["intermediate", "output"] = "intermediate"
    experts: Count = 2
    per_token: Count = 1


@dataclass(frozen=True)
class CLPObjective:
    """Settings: see conf/objective/clp.yaml."""

    loss: CLPLoss = field(default_factory=CLPLoss)
    mixture: Mixture = field(default_factory=Mixture)
    only_train: Annotated[list[str], NOT_EMPTY] | None = None
    gathered: Sequence[str] = ("documents",)
    needs_scores: bool = False

    @property
    def sides(self) -> Sequence[str]:
        """Questions of the negatives only where a penalty reads them."""
        asked = ("negative_queries",) if self.loss.penalty else ()
        return ("queries", "documents", *asked)

    def model(self, start: Start) -> M3Model:
        """The start's transformer with mixtures of experts, each a copy of its own layer."""
        from m3eval.training.mixture import mixed
        from m3eval.training.models import M3Model

        how = self.mixture
        body = mixed(start.checkpoint.load(torch.float32), how.part, how.experts, how.per_token)
        return M3Model(body, {}, ["dense"], start.pooling, ())

    def save(self, model: nn.Module, start: Start, folder: Path) -> None:
        """Writes the layout of arXiv 2412.17364, and pooling and prefixes beside it."""
        body: Any = model.get_submodule("body")
        body.save_pretrained(folder)
        start.save_tokenizer(folder)
        # sentence-transformers would draw the experts at random.
        state(folder, start.checkpoint.shape.width, start.pooling, start.prefixes, modules=False)

    def encoder_words(self, folder: Path) -> list[str]:
        """See `Objective`."""
        return ["encoder=clp_moe", f"encoder.checkpoint={folder}"]

    def __call__(
        self, own: Mapping[str, Embedded], everybodys: Mapping[str, Embedded], step: Step
    ) -> dict[str, torch.Tensor]:
        """See `Objective`."""
        queries = own["queries"]["dense"]
        return self.loss(
            dense(queries, everybodys["documents"]["dense"]),
            positives(len(queries), step.group, step.first, queries.device),
            *self._penalised(own, step.group),
        )

    def _penalised(
        self, own: Mapping[str, Embedded], group: int
    ) -> tuple[torch.Tensor, torch.Tensor] | tuple[()]:
        if not self.loss.penalty:
            return ()
        groups = own["documents"]["dense"].unflatten(0, (-1, group))  # [q, group, h]
        return groups[:, 1:].flatten(0, 1), own["negative_queries"]["dense"]
