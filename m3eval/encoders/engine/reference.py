"""The forward pass of transformers: for every architecture, and the oracle of `packed.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from m3eval.encoders.transfer import to_device


class PaddedTransformer(nn.Module):
    """Any encoder of transformers, called with padded texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        model.config.use_cache = False  # decoders keep keys and values for a next token otherwise
        self.padding = model.config.pad_token_id or 0  # the mask hides it, whatever it is

    @property
    def attention(self) -> str:
        """The name of the implementation, as transformers has it."""
        return f"transformers' {self.model.config._attn_implementation}"

    def forward(
        self, ids: np.ndarray, lengths: np.ndarray, only: np.ndarray | None = None
    ) -> torch.Tensor:
        """Last hidden states of B texts: see `packed.PackedTransformer.forward`."""
        real = np.arange(lengths.max()) < lengths[:, None]  # [B, longest]
        batch = np.full(real.shape, self.padding, np.int64)
        batch[real] = ids
        inputs, mask = (to_device(array, self.model.device) for array in (batch, real))
        output = self.model(input_ids=inputs, attention_mask=mask.long())
        states = output.last_hidden_state.flatten(0, 1)  # [B * longest, h]
        places = np.flatnonzero(real)  # [T]
        wanted = places if only is None else places[only]
        return states[to_device(wanted, states.device)]
