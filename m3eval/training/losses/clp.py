"""The contrastive learning penalty (CLP, arXiv 2412.17364).

    (1 - p) InfoNCE + p mean(1 - cos(q', d'))       p = 0.1

where d' are a question's negatives and q' a question that each of them does answer: a document that
is pushed away from one question is held at its own. The reference computes this for one question a
step; here it is the mean over all negatives of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from m3eval.kinds import Positive, Share
from m3eval.lazy import torch
from m3eval.training.losses import contrastive


@dataclass(frozen=True)
class CLPLoss:
    """The settings of the loss; conf/objective/clp.yaml explains each."""

    temperature: Positive = 0.02
    penalty: Share = 0.1

    def __call__(
        self,
        similarity: torch.Tensor,
        positive: torch.Tensor,
        negatives: torch.Tensor | None = None,
        negative_queries: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The loss, and its parts.

        Args:
            similarity: [q, p] cosines.
            positive: [q] int64, the column of each question's positive.
            negatives: [n, h], of this process's questions; None, as the next: no penalty.
            negative_queries: [n, h], a question for each.

        Returns:
            "loss", and "ce" and "penalty" without gradient.
        """
        entropy = contrastive.info_nce(similarity / self.temperature, positive)
        if negatives is None or negative_queries is None:
            return {"loss": entropy, "ce": entropy.detach()}
        cosine = torch.nn.functional.cosine_similarity(negative_queries, negatives, dim=-1)
        penalty = (1 - cosine).mean()
        loss = (1 - self.penalty) * entropy + self.penalty * penalty
        return {"loss": loss, "ce": entropy.detach(), "penalty": penalty.detach()}
