"""Linear layers on a CPU by oneDNN, with weights laid out for it once.

PyTorch's own fp32 product goes through MKL, which on processors that are not Intel's leaves more
than half of their speed unused; and in half precision it lays the weights out anew at every call.
Measured in docs/log.md.
"""

from __future__ import annotations

import torch
from torch import nn

PRECISIONS = (torch.float32, torch.bfloat16)


class OneDNNLinear(nn.Module):
    """What an `nn.Linear` computes, whose weights it takes over."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[..., out] from [..., in]."""
        return torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, "none", [], "")


def for_cpu(module: nn.Module) -> nn.Module:
    """The module with every `nn.Linear` in it computed by oneDNN, where that works."""
    if isinstance(module, nn.Linear):
        works = module.weight.dtype in PRECISIONS and _works(module.weight.dtype)
        return OneDNNLinear(module) if works else module
    for name, child in module.named_children():
        setattr(module, name, for_cpu(child))
    return module


def _works(dtype: torch.dtype) -> bool:
    """Whether inductor's operators run and agree with PyTorch: they are no public interface."""
    linear = nn.Linear(48, 32, dtype=dtype).requires_grad_(False)
    inputs = torch.ones(5, 48, dtype=dtype)
    try:
        with torch.inference_mode():
            result = OneDNNLinear(linear)(inputs)
    except (AttributeError, RuntimeError):
        return False
    atol = 1e-5 if dtype == torch.float32 else 2e-2
    return torch.allclose(result, linear(inputs), rtol=0, atol=atol)
