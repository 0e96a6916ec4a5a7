"""A transformer whose states are given, so that what follows it in a model can be run alone."""

from __future__ import annotations

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput


class GivenStates(nn.Module):
    """Stands in a transformer's place and gives back the states that it is called with."""

    def forward(
        self, *arguments: object, inputs_embeds: torch.Tensor, **settings: object
    ) -> BaseModelOutput:
        """`inputs_embeds` as the last hidden states."""
        return BaseModelOutput(last_hidden_state=inputs_embeds)
