"""An XLM-R in whose layers one linear map is replaced by a mixture of experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import nn


class Gate(nn.Module):
    """Logits of the experts, in fp32 whatever the model computes in.

    A rounded logit would send tokens elsewhere. This is no `nn.Linear`, which `linear.for_cpu`
    would replace.
    """

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[n, experts] float32 from [n, width]."""
        with torch.autocast(states.device.type, enabled=False):
            return F.linear(states.float(), self.weight.float())


class TopKLinear(nn.Module):
    """A mixture of linear maps.

    Each token is sent to the `per_token` experts with the largest logits and gets their weighted
    sum. The weights are the softmax over the chosen logits only, in fp32.
    """

    def __init__(self, width: int, out_features: int, experts: int, per_token: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, out_features) for _ in range(experts))
        self.gate = Gate(width, experts)
        self.out_features, self.per_token = out_features, per_token

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., out_features] from [..., width]."""
        tokens = states.flatten(0, -2)  # [n, width]
        logits, chosen = self.gate(tokens).topk(self.per_token, dim=-1)  # each [n, per_token]
        weights = logits.softmax(-1).to(tokens.dtype)
        result = tokens.new_zeros(len(tokens), self.out_features)
        for number, expert in enumerate(self.experts):
            which, place = torch.where(chosen == number)
            if len(which):
                result[which] += weights[which, place, None] * expert(tokens[which])
        return result.unflatten(0, states.shape[:-1])


class MixtureXLMRoberta(transformers.XLMRobertaModel):
    """An XLM-R with mixtures where its config says so.

    A class of its own, so that transformers reads the checkpoint, in one file or several.
    """

    _keep_in_fp32_modules_strict = ["gate"]  # noqa: RUF012 - as transformers declares it

    def __init__(self, config: transformers.XLMRobertaConfig, **arguments: Any) -> None:
        super().__init__(config, **arguments)
        for layer in self.encoder.layer:
            part = getattr(layer, config.moe)
            part.dense = TopKLinear(
                part.dense.in_features,
                part.dense.out_features,
                config.num_experts,
                config.num_experts_per_tok,
            )
