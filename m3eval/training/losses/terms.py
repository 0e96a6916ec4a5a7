"""SPLADE's and SparseEmbed's losses, without their regulariser (`losses/flops.py`).

SPLADE (arXiv 2107.05720) learns by InfoNCE over inner products of term weights, at temperature 1.
SparseEmbed (Kong et al. 2023) as neural-cherche trains it: the cross entropy of term vectors'
scores + 0.1 x that of term weights' scores; of vectors, questions that share no term with one of
their own documents learn nothing.
"""

from __future__ import annotations

from m3eval.lazy import torch
from m3eval.training.losses import contrastive


def ranking(
    scores: torch.Tensor, positive: torch.Tensor, group: int, in_batch: bool
) -> torch.Tensor:
    """The mean cross entropy of each question's positive.

    Args:
        scores: [q, p].
        positive: [q] int64, the column of each positive; its group follows.
        group: documents of a question.
        in_batch: among all p candidates, and not in its own group only.
    """
    if in_batch:
        return contrastive.info_nce(scores, positive)
    own = contrastive.own_group(scores, positive, group)
    return contrastive.info_nce(own, torch.zeros_like(positive))


def ranking_where_shared(
    scores: torch.Tensor,
    shared: torch.Tensor,
    positive: torch.Tensor,
    group: int,
    in_batch: bool,
) -> torch.Tensor:
    """`ranking` of the questions that share a term with each document of their group.

    Args:
        scores: [q, p].
        shared: [q, p] bool: whether there is a shared term.
        positive: [q] int64.
        group: documents of a question.
        in_batch: as `ranking` has it.

    Returns:
        0, with gradient 0, where no question does.
    """
    rows = contrastive.own_group(shared, positive, group).all(1)  # [q]
    if not rows.any():
        return scores.sum() * 0
    return ranking(scores[rows], positive[rows], group, in_batch)
