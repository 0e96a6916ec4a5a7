"""The objective M3: dense, sparse and multi-vector, any of them, trained together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from m3eval.console import say
from m3eval.encoders.m3 import FILES
from m3eval.encoders.stated import state
from m3eval.kinds import NOT_EMPTY
from m3eval.lazy import torch
from m3eval.manifests import Representation
from m3eval.training import similarity
from m3eval.training.losses.contrastive import positives
from m3eval.training.losses.m3 import M3Loss
from m3eval.training.objectives.objective import Step
from m3eval.training.similarity import Embedded
from m3eval.training.start import Start

if TYPE_CHECKING:
    from torch import nn

    from m3eval.training.models import M3Model


@dataclass(frozen=True)
class M3Objective:
    """Settings: see conf/objective/m3.yaml."""

    representations: Annotated[list[Representation], NOT_EMPTY]
    loss: M3Loss
    only_train: Annotated[list[str], NOT_EMPTY] | None = None
    sides: Sequence[str] = ("queries", "documents")
    gathered: Sequence[str] = ("documents",)

    @property
    def needs_scores(self) -> bool:
        """See `Objective`."""
        return self.loss.teacher != "none"

    def model(self, start: Start) -> M3Model:
        """The start's transformer with the heads that are trained, and those that stay.

        A multi-vector head that is new begins as the states themselves; a lexical one gives every
        token the same weight.
        """
        from m3eval.training.models import M3Model, linear

        checkpoint = start.checkpoint
        width, heads = checkpoint.shape.width, {}
        for name, file in FILES.items():
            path = None if start.folder is None else start.folder / file
            there = path is not None and path.exists()
            if name not in self.representations and not there:
                continue
            if not there:
                say(f"  {name:12} a new head: {start.name} has no {file}")
            outputs = 1 if name == "sparse" else width
            heads[name] = linear(path, width, outputs, identity=name == "multi_vector")
        body = checkpoint.load(torch.float32)
        dropped = {number for number in checkpoint.special.values() if number is not None}
        return M3Model(body, heads, self.representations, start.pooling, dropped)

    def save(self, model: nn.Module, start: Start, folder: Path) -> None:
        """Writes BGE-M3's layout. Heads that were not trained with the body stay out of it."""
        body: Any = model.get_submodule("body")
        heads: Any = model.get_submodule("heads")
        frozen = not any(parameter.requires_grad for parameter in body.parameters())
        kept: list[Representation] = [name for name in FILES if name in heads]
        if not frozen:
            kept = [name for name in kept if name in self.representations]
        body.config.m3_representations = ["dense", *kept]
        body.save_pretrained(folder)
        for name in kept:
            torch.save(heads[name].state_dict(), folder / FILES[name])
        start.save_tokenizer(folder)
        state(folder, start.checkpoint.shape.width, start.pooling, start.prefixes)

    def encoder_words(self, folder: Path) -> list[str]:
        """See `Objective`."""
        return ["encoder=bge_m3", f"encoder.checkpoint={folder}"]

    def __call__(
        self, own: Mapping[str, Embedded], everybodys: Mapping[str, Embedded], step: Step
    ) -> dict[str, torch.Tensor]:
        """See `Objective`."""
        queries, documents = own["queries"], everybodys["documents"]
        count = len(next(iter(queries.values())))
        device = next(iter(queries.values())).device
        parts = self.loss(
            similarities(queries, documents, self.representations),
            positives(count, step.group, step.first, device),
            step.group,
            step.number,
            step.teacher_scores,
        )
        if "sparse" in self.representations:
            parts |= lexical_health("query", queries) | lexical_health("document", own["documents"])
        return parts


def similarities(
    queries: Embedded, documents: Embedded, ways: Sequence[Representation]
) -> dict[Representation, torch.Tensor]:
    """[q, p] scores of each way, without temperature."""
    scores: dict[Representation, torch.Tensor] = {}
    if "dense" in ways:
        scores["dense"] = similarity.dense(queries["dense"], documents["dense"])
    if "sparse" in ways:
        scores["sparse"] = similarity.lexical(
            queries["terms"], queries["weights"], documents["terms"], documents["weights"]
        )
    if "multi_vector" in ways:
        scores["multi_vector"] = similarity.maxsim(
            queries["vectors"], queries["real"], documents["vectors"], documents["real"]
        )
    return scores


def lexical_health(name: str, embedded: Embedded) -> dict[str, torch.Tensor]:
    """The share of texts without any weight, and how many tokens of a text carry one on average.

    Unified fine-tuning may empty nearly all lexical vectors, which losses do not show.
    """
    counts = (embedded["weights"].detach() > 0).sum(1).float()  # [n]
    return {f"empty_{name}": (counts == 0).float().mean(), f"terms_{name}": counts.mean()}
