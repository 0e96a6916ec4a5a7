"""The forward pass as transformers has it: for every architecture, and the oracle of `packed.py`."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from torch import nn

from m3eval.encoders.execution import to_device


class PaddedTransformer(nn.Module):
    """Any encoder of transformers, called with padded texts."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        model.config.use_cache = False  # decoders keep keys and values for a next token otherwise
        self.padding = model.config.pad_token_id or 0  # the mask hides it, whatever it is

    def forward(
        self, ids: np.ndarray, lengths: np.ndarray, only: np.ndarray | None = None
    ) -> torch.Tensor:
        """Last hidden states [T, h] of B texts, or of some of their tokens: as `packed.PackedTransformer.forward` has it."""
        real = np.arange(lengths.max()) < lengths[:, None]  # [B, longest]
        batch = np.full(real.shape, self.padding, np.int64)
        batch[real] = ids
        ids, mask = (to_device(array, self.model.device) for array in (batch, real))
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        places = np.flatnonzero(real) if only is None else np.flatnonzero(real)[only]
        return states.flatten(0, 1)[to_device(places, states.device)]
