"""The texts of all processes in each of them, with their gradients.

Every process scores its own queries with everybody's documents. A document's gradient is then the
sum over all processes; their mean, which data parallel training takes, is the gradient of one
process that has the whole batch. (`torch.distributed`'s own gathering gives no gradient, and that
of BGE-M3's reference keeps only its own process's share.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from m3eval.training.similarity import Embedded, padded_to


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def everybodys(embedded: Embedded) -> Embedded:
    """[processes * n, ...] of each tensor [n, ...], in the order of the processes.

    Each process must have the same number of texts; their lengths may differ.
    """
    if processes() == 1:
        return embedded
    return {name: _gathered(tensor) for name, tensor in embedded.items()}


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() > 1:
        longest = torch.tensor(tensor.shape[1], device=tensor.device)
        distributed.all_reduce(longest, distributed.ReduceOp.MAX)
        tensor = padded_to(tensor, int(longest))
    if tensor.dtype == torch.bool:
        return _all(tensor.to(torch.uint8)).bool()
    return _Gather.apply(tensor) if tensor.is_floating_point() else _all(tensor)


def _all(tensor: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(tensor) for _ in range(processes())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Gathering whose gradient is the sum over the processes."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return _all(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        gradient = gradients[0].contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(processes())[rank()]
