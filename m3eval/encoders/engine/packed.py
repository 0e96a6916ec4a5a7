"""The forward pass of BERT, RoBERTa, XLM-R and their kin over packed texts.

It takes the weights of Hugging Face's model. The tokens of all texts of a pack form one matrix
[T, h]: nothing is padded, so nothing is computed in vain. Queries, keys and values come from one
product. Hugging Face's own forward pass is `reference.py`, which this equals to 1e-5 in fp32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from m3eval.encoders.engine.attention import Attention, attention, chosen
from m3eval.encoders.engine.linear import Activated
from m3eval.encoders.engine.shape import ROBERTA
from m3eval.encoders.engine.weights import rows_of
from m3eval.encoders.transfer import to_device


class PackedTransformer(nn.Module):
    """Takes the weights out of a model of transformers, which must not be used afterwards."""

    def __init__(self, model: Any) -> None:
        """Takes over a `PreTrainedModel` of an architecture that `shape.supports`."""
        super().__init__()
        config, embeddings = model.config, model.embeddings
        self.heads = config.num_attention_heads
        self.width = config.hidden_size // self.heads
        self.padding = config.pad_token_id if config.model_type in ROBERTA else None
        self.words, self.norm = embeddings.word_embeddings, embeddings.LayerNorm
        # Every token is of type 0, whose vector joins the positions.
        of_type = embeddings.token_type_embeddings.weight[0].float()
        positions = embeddings.position_embeddings.weight.float() + of_type
        self.positions = nn.Parameter(positions.to(self.words.weight.dtype), requires_grad=False)
        self.layers = nn.ModuleList(Layer(layer) for layer in model.encoder.layer)

    @property
    def attention(self) -> str:
        """The name of the implementation that is taken where the model is."""
        place, dtype = self.positions.device.type, self.positions.dtype
        return chosen(place, dtype, self.heads, self.width)

    def forward(
        self, ids: np.ndarray, lengths: np.ndarray, only: np.ndarray | None = None
    ) -> torch.Tensor:
        """Last hidden states of B texts.

        Args:
            ids: [T] int64, the texts' token ids one after the other.
            lengths: [B] int64, tokens of each text; equal ones side by side are computed fastest.
            only: [m] int64, tokens whose states are wanted; the last layer then leaves out most of
                the work for the others.

        Returns:
            [T, h], or [m, h], in the model's precision.
        """
        states = self.embedded(ids, lengths)
        attend = attention(lengths, (self.heads, self.width), states.device, states.dtype)
        for layer in self.layers[:-1]:
            states = layer(states, attend, self.heads)
        chosen = None if only is None else to_device(only, states.device)
        return self.layers[-1](states, attend, self.heads, chosen)

    def embedded(self, ids: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
        """[T, h]: what the first layer reads; see `forward`."""
        words = rows_of(self.words.weight, ids)  # [T, h]
        rows = to_device(self._position_rows(ids, lengths), self.positions.device)
        return self.norm(words.add_(F.embedding(rows, self.positions)))

    def _position_rows(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[T] int64, rows of the position table.

        RoBERTa does not count a padding token that stands in a text.
        """
        starts = np.cumsum(lengths) - lengths
        if self.padding is None:
            return np.arange(len(ids)) - np.repeat(starts, lengths)
        counted = ids != self.padding
        total = np.concatenate([[0], np.cumsum(counted)])
        return (total[1:] - np.repeat(total[starts], lengths)) * counted + self.padding


class Layer(nn.Module):
    """Attention and feed-forward network, each with a residual and a norm after it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        this, output = layer.attention.self, layer.attention.output
        parts = [this.query, this.key, this.value]
        width, dtype = sum(part.out_features for part in parts), parts[0].weight.dtype
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        self.qkv = nn.Linear(parts[0].in_features, width, dtype=dtype)
        self.qkv.weight = nn.Parameter(weight, requires_grad=False)
        self.qkv.bias = nn.Parameter(bias, requires_grad=False)
        for part in parts:
            part.weight = part.bias = None  # else memory would hold them twice
        self.mix, self.mix_norm = output.dense, output.LayerNorm
        intermediate = layer.intermediate
        self.up = Activated(intermediate.dense, intermediate.intermediate_act_fn)
        self.down, self.down_norm = layer.output.dense, layer.output.LayerNorm

    def forward(
        self, states: torch.Tensor, attend: Attention, heads: int, only: torch.Tensor | None = None
    ) -> torch.Tensor:
        """States [T, h] after the layer, or those [m, h] of the tokens `only`."""
        qkv = self.qkv(states).unflatten(-1, (3, heads, -1))  # [T, 3, heads, width]
        seen = attend(qkv).flatten(1)  # [T, h]
        if only is not None:
            seen, states = seen[only], states[only]
        return self.after(seen, states)

    def after(self, seen: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """[T, h]: all that follows the attention, which gave `seen`, with the layer's input."""
        states = self.mix_norm(self.mix(seen).add_(states))
        return self.down_norm(self.down(self.up(states)).add_(states))
