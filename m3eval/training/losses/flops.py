"""FLOPS regularisers: what keeps the term vectors of SPLADE and SparseEmbed short.

FLOPS is sum_v (mean_b w_bv)^2 over terms v and texts b (Paria et al. 2020, arXiv 2004.05665): about
how many products an inverted index computes for a pair of texts. Three forms are in use:

- paper: FLOPS of queries and of documents, with a weight each (SPLADE, arXiv 2107.05720).
- sentence_transformers: the same, over texts with more than `threshold` terms only; the others
  count as empty (arXiv 2504.14839).
- neural_cherche: |target - FLOPS|, at most `most`, of queries and documents together. Where FLOPS
  is `most` or more away from `target` it has no gradient; below `target` it asks for more terms.

Weights rise from step to step, as (t / T)^2 or t / T. The references begin to count at different t.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from m3eval import kinds
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.kinds import Count, NotNegative, Positive
from m3eval.lazy import torch

Form = Literal["none", "paper", "sentence_transformers", "neural_cherche"]
Schedule = Literal["quadratic", "linear", "constant"]
FIRST = {"none": 0, "paper": 1, "sentence_transformers": 0, "neural_cherche": 2}  # t of step 0
POWERS = {"quadratic": 2, "linear": 1, "constant": 0}
BOTH_SIDES = Annotated[
    dict[str, NotNegative],
    kinds.holds("a weight for query and one for document", lambda it: {*it} == {*WEIGHTS}),
]
WEIGHTS = {"query": 5e-5, "document": 3e-5}


def flops(weights: torch.Tensor, threshold: int = 0) -> torch.Tensor:
    """sum_v (mean_b w_bv)^2.

    Args:
        weights: [n, vocabulary], none below 0.
        threshold: texts with no more terms than this count as empty.
    """
    if threshold:
        longer = (weights != 0).sum(1) > threshold  # [n]
        weights = weights * longer[:, None]
    return weights.mean(0).square().sum()


def near_target(flops: torch.Tensor, target: float, most: float) -> torch.Tensor:
    """neural-cherche's regulariser: how far FLOPS is from a target, cut at `most`."""
    return (target - flops).abs().clip(0.0, most)


def risen(schedule: Schedule, t: int, over: int) -> float:
    """The share of its weight that a regulariser has at t; all of it from t = `over` on."""
    return min(1.0, t / over) ** POWERS[schedule]


@dataclass(frozen=True)
class Flops:
    """The settings of a regulariser; conf/objective/splade.yaml explains each."""

    form: Form = "paper"
    weights: BOTH_SIDES = field(default_factory=lambda: dict(WEIGHTS))
    schedule: Schedule = "quadratic"
    rise: Count | None = None  # T, in steps; None: a third of the training's
    threshold: Annotated[int, kinds.whole(0)] = 0  # of sentence_transformers
    target: Positive = 100.0  # of neural_cherche, and the next
    most: Positive = 10.0

    def __post_init__(self) -> None:
        """Raises UserError where settings contradict the form."""
        if self.form == "neural_cherche" and len({*self.weights.values()}) > 1:
            raise UserError(
                f"objective.flops.weights={self.weights}: neural_cherche regularises queries and "
                "documents together, so both must be equal."
            )
        if self.threshold and self.form != "sentence_transformers":
            raise UserError(
                f"objective.flops.threshold={self.threshold} belongs to "
                f"form=sentence_transformers, and the form is {self.form}: set it to 0."
            )

    def prepare(self) -> None:
        """Says before a training what the form does that its name does not tell."""
        if self.form == "neural_cherche":
            low, high = self.target - self.most, self.target + self.most
            say(
                "warning    flops.form=neural_cherche has a gradient only where FLOPS lies between "
                f"{low:g} and {high:g}, and below {self.target:g} it makes texts longer: see "
                "flops_both and flops_idle in steps.jsonl, or choose form=paper."
            )

    def __call__(
        self, queries: torch.Tensor, documents: torch.Tensor, step: int, total: int
    ) -> dict[str, torch.Tensor]:
        """What is added to the loss, and what it is made of.

        Args:
            queries: [q, vocabulary] weights of the whole batch.
            documents: [p, vocabulary].
            step: how many steps were done before.
            total: steps of the training.

        Returns:
            "regulariser", with gradient; without: "flops_query" and "flops_document", and of
            neural_cherche "flops_both" and "flops_idle", 1 where the regulariser has no gradient.
        """
        sides = {"query": queries, "document": documents}
        values = {name: flops(weights, self.threshold) for name, weights in sides.items()}
        parts = {f"flops_{name}": value.detach() for name, value in values.items()}
        over = self.rise or max(1, total // 3)
        share = risen(self.schedule, step + FIRST[self.form], over)
        if self.form == "none":
            return {"regulariser": queries.new_zeros(())} | parts
        if self.form == "neural_cherche":
            both = flops(torch.cat([queries, documents]))
            distance = near_target(both, self.target, self.most)
            parts["flops_both"] = both.detach()
            parts["flops_idle"] = ((self.target - both).abs() >= self.most).float().detach()
            return {"regulariser": share * self.weights["document"] * distance} | parts
        weighted = [self.weights[name] * value for name, value in values.items()]
        return {"regulariser": share * torch.stack(weighted).sum()} | parts
