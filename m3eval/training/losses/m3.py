"""M3's loss: InfoNCE for each way of scoring and for their sum, and self-knowledge distillation.

M3 paper, section 3.3, with the weights of its reference implementation. For all three ways, with
scores d, s, c that are divided by the temperature, and x = d + 0.3 s + c:

    L  = (CE d + 0.1 CE s + CE c + CE x) / 4
    L' = (KL d + 0.1 KL s + KL c) / 3      KL y = - sum softmax(x) log softmax(y), x detached
    (L + L') / 2

With fewer ways the sums are over these, and the divisors are their number plus one, and their
number. A single way has no sum to learn from: its loss is its cross entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from m3eval import kinds
from m3eval.kinds import Positive, Weights
from m3eval.lazy import torch
from m3eval.manifests import Representation
from m3eval.training.losses import contrastive

Teacher = Literal["none", "kl_div", "m3_kd_loss"]


@dataclass(frozen=True)
class M3Loss:
    """The settings of the loss; conf/objective/m3.yaml explains each."""

    temperature: Positive = 0.02
    # In the sum of the ways of scoring, and of their losses.
    ensemble_weights: Weights = field(
        default_factory=lambda: {"dense": 1.0, "sparse": 0.3, "multi_vector": 1.0}
    )
    loss_weights: Weights = field(
        default_factory=lambda: {"dense": 1.0, "sparse": 0.1, "multi_vector": 1.0}
    )
    self_distillation: bool = True
    self_distillation_start: Annotated[int, kinds.whole(0)] = 0  # the first step with it
    stop_gradient: bool = True  # the teacher of self-distillation does not learn from its pupils
    teacher: Teacher = "none"  # what to do with a reranker's scores, where the data has them
    in_batch_negatives: bool = True

    def __call__(
        self,
        similarities: Mapping[Representation, torch.Tensor],
        positive: torch.Tensor,
        group: int,
        step: int,
        teacher_scores: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The loss, and its parts.

        Args:
            similarities: of each way of scoring, [q, p] without temperature.
            positive: [q] int64, the column of each query's positive; its group follows.
            group: documents of a query.
            step: how many steps were done before.
            teacher_scores: [q, group] raw scores of a reranker.

        Returns:
            "loss", and each cross entropy and divergence by name, without gradient.
        """
        scores = {name: values / self.temperature for name, values in similarities.items()}
        if not self.in_batch_negatives:
            scores = {
                name: contrastive.own_group(values, positive, group)
                for name, values in scores.items()
            }
            positive = torch.zeros_like(positive)
        teacher = None if teacher_scores is None else teacher_scores.softmax(-1)

        def contrast(values: torch.Tensor) -> torch.Tensor:
            if teacher is None or self.teacher == "none":
                return contrastive.info_nce(values, positive)
            if self.teacher == "m3_kd_loss":
                return contrastive.ranked_in_turn(teacher, values, positive)
            own = contrastive.own_group(values, positive, group)
            return contrastive.distilled(teacher, own) + contrastive.info_nce(values, positive)

        losses = {name: contrast(values) for name, values in scores.items()}
        parts = {f"ce_{name}": losses[name] for name in losses}
        if len(scores) == 1:
            (loss,) = losses.values()
            return {"loss": loss} | _without_gradient(parts)
        ensemble = _weighted_sum(scores, self.ensemble_weights)
        parts["ce_ensemble"] = contrast(ensemble)
        loss = _weighted_sum(losses, self.loss_weights) + parts["ce_ensemble"]
        loss = loss / (len(scores) + 1)
        if self.self_distillation and step >= self.self_distillation_start:
            target = ensemble.softmax(-1)
            target = target.detach() if self.stop_gradient else target
            pupils = {
                name: contrastive.distilled(target, values) for name, values in scores.items()
            }
            parts |= {f"kl_{name}": pupils[name] for name in pupils}
            loss = (loss + _weighted_sum(pupils, self.loss_weights) / len(scores)) / 2
        return {"loss": loss} | _without_gradient(parts)


def _weighted_sum(values: Mapping[Any, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
    return torch.stack([weights[name] * values[name] for name in values]).sum(0)


def _without_gradient(parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in parts.items()}
