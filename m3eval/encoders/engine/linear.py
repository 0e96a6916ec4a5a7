"""Linear layers on a CPU by oneDNN, with weights laid out for it once.

PyTorch's own fp32 product goes through MKL, which on processors that are not Intel's leaves more
than half of their speed unused; and in half precision it lays the weights out anew at every call.
Measured in docs/log.md.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

PRECISIONS = (torch.float32, torch.bfloat16)


class Activated(nn.Module):
    """A linear layer, or a mixture of such, and the function after it."""

    def __init__(self, linear: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[..., out] from [..., in]."""
        return self.activation(self.linear(inputs))


class OneDNNLinear(nn.Module):
    """What an `nn.Linear` computes, whose weights it takes over.

    Args:
        linear: the layer.
        after: "none", or "gelu", which is then computed before the product leaves the cache.
    """

    def __init__(self, linear: nn.Linear, after: str = "none") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.after = after
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[..., out] from [..., in]."""
        return torch.ops.mkldnn._linear_pointwise(
            inputs, self.weight, self.bias, self.after, [], "none"
        )


def for_cpu(module: nn.Module) -> nn.Module:
    """The module with every `nn.Linear` in it computed by oneDNN, where that works."""
    match module:
        case nn.Linear() if _works(module.weight.dtype):
            return OneDNNLinear(module)
        case Activated(linear=nn.Linear() as linear, activation=activation) if _works(
            linear.weight.dtype
        ) and is_gelu(activation):
            return OneDNNLinear(linear, "gelu")
    for name, child in module.named_children():
        setattr(module, name, for_cpu(child))
    return module


def is_gelu(activation: nn.Module) -> bool:
    """Whether it is GELU by the error function, and not one of its approximations.

    Transformers has classes of its own for each; the values tell.
    """
    inputs = torch.linspace(-4, 4, 33)
    return torch.equal(activation(inputs), F.gelu(inputs))


@lru_cache
def _works(dtype: torch.dtype) -> bool:
    """Whether inductor's operators run and agree with PyTorch: they are no public interface."""
    if dtype not in PRECISIONS:
        return False
    linear = nn.Linear(48, 32, dtype=dtype).requires_grad_(False)
    inputs = torch.ones(5, 48, dtype=dtype)
    try:
        with torch.inference_mode():
            result = OneDNNLinear(linear)(inputs)
            activated = OneDNNLinear(linear, "gelu")(inputs)
    except (AttributeError, RuntimeError):
        return False
    atol = 1e-5 if dtype == torch.float32 else 2e-2
    expected = linear(inputs)
    return torch.allclose(result, expected, rtol=0, atol=atol) and torch.allclose(
        activated, F.gelu(expected), rtol=0, atol=atol
    )
