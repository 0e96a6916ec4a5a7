"""Losses over scores of queries with candidates that all objectives share.

Scores are [q, p]: each of q queries with p candidates, among which its own group of documents
stands together, the positive first.
"""

from __future__ import annotations

from m3eval.lazy import torch


def positives(queries: int, group: int, first: int, device: torch.device) -> torch.Tensor:
    """[q] int64: the column of each query's positive.

    Args:
        queries: how many there are.
        group: documents of a query.
        first: the column of the first query's group; other processes' documents stand before it.
        device: of the result.
    """
    return first + group * torch.arange(queries, device=device)


def own_group(scores: torch.Tensor, positive: torch.Tensor, group: int) -> torch.Tensor:
    """[q, group]: the scores of each query with its own documents, the positive first."""
    return scores.gather(1, positive[:, None] + torch.arange(group, device=scores.device))


def info_nce(scores: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of each query's positive among all its candidates."""
    return torch.nn.functional.cross_entropy(scores, positive)


def distilled(teacher: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """- the mean over queries of sum_i teacher_i log softmax(scores)_i.

    Args:
        teacher: [q, p] probabilities.
        scores: [q, p].
    """
    return -(teacher * scores.log_softmax(-1)).sum(-1).mean()


def ranked_in_turn(
    teacher: torch.Tensor, scores: torch.Tensor, positive: torch.Tensor
) -> torch.Tensor:
    """FlagEmbedding's `m3_kd_loss`: each document of the group as a positive in turn.

    The cross entropy of the i-th document counts with the teacher's probability of it; documents
    that had their turn are no longer candidates.

    Args:
        teacher: [q, group] probabilities.
        scores: [q, p].
        positive: [q], the column of each group's first document.
    """
    total = scores.new_zeros(())
    for i in range(teacher.shape[1]):
        losses = torch.nn.functional.cross_entropy(scores, positive + i, reduction="none")  # [q]
        total = total + (teacher[:, i] * losses).mean()
        scores = scores.scatter(1, (positive + i)[:, None], torch.finfo(scores.dtype).min)
    return total
