"""The forward pass of BERT, RoBERTa, XLM-R and their kin over packed texts, with the weights of Hugging Face's model.

The tokens of all texts of a pack form one matrix [T, h]: nothing is padded, so nothing is computed in vain. Queries, keys and
values come from one product. Hugging Face's own forward pass is `reference.py`, which this equals to 1e-5 in fp32.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from m3eval.encoders.attention import Attention, attention
from m3eval.encoders.execution import to_device

BERT = {"bert", "dpr"}  # a DPR checkpoint holds a BERT
ROBERTA = {"roberta", "xlm-roberta", "camembert"}  # count positions from the padding id + 1 on


def supports(config: transformers.PretrainedConfig) -> bool:
    """Whether this file computes what the architecture prescribes: an encoder with absolute positions and norms at the end."""
    return (
        config.model_type in BERT | ROBERTA
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "add_cross_attention", False)
    )


class PackedTransformer(nn.Module):
    """Takes the weights out of a model of transformers, which must not be used afterwards."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        config, embeddings = model.config, model.embeddings
        self.heads, self.width = (
            config.num_attention_heads,
            config.hidden_size // config.num_attention_heads,
        )
        self.padding = config.pad_token_id if config.model_type in ROBERTA else None
        self.words, self.norm = embeddings.word_embeddings, embeddings.LayerNorm
        # Every token is of type 0, whose vector joins the positions.
        positions = (
            embeddings.position_embeddings.weight.float()
            + embeddings.token_type_embeddings.weight[0].float()
        )
        self.positions = nn.Parameter(positions.to(self.words.weight.dtype), requires_grad=False)
        self.layers = nn.ModuleList(_Layer(layer) for layer in model.encoder.layer)

    def forward(
        self, ids: np.ndarray, lengths: np.ndarray, only: np.ndarray | None = None
    ) -> torch.Tensor:
        """Last hidden states of B texts.

        Args:
            ids: [T] int64, the texts' token ids one after the other.
            lengths: [B] int64, tokens of each text; equal ones side by side are computed fastest.
            only: [m] int64, tokens whose states are wanted; the last layer then leaves most of the others' work out.

        Returns:
            [T, h], or [m, h], in the model's precision.
        """
        words, positions = (
            to_device(which, self.positions.device) for which in (ids, self._places(ids, lengths))
        )
        states = self.norm(
            F.embedding(words, self.words.weight).add_(F.embedding(positions, self.positions))
        )
        attend = attention(lengths, (self.heads, self.width), states.device, states.dtype)
        for layer in self.layers[:-1]:
            states = layer(states, attend, self.heads)
        return self.layers[-1](
            states, attend, self.heads, None if only is None else to_device(only, states.device)
        )

    def _places(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[T] int64, rows of the position table. RoBERTa does not count a padding token that stands in a text."""
        starts = np.cumsum(lengths) - lengths
        if self.padding is None:
            return np.arange(len(ids)) - np.repeat(starts, lengths)
        counted = ids != self.padding
        total = np.concatenate([[0], np.cumsum(counted)])
        return (total[1:] - np.repeat(total[starts], lengths)) * counted + self.padding


class _Layer(nn.Module):
    """Attention and feed-forward network, each with a residual and a norm after it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        this, output = layer.attention.self, layer.attention.output
        parts = [this.query, this.key, this.value]
        self.qkv = nn.Linear(
            parts[0].in_features,
            sum(part.out_features for part in parts),
            dtype=parts[0].weight.dtype,
        )
        self.qkv.weight = nn.Parameter(
            torch.cat([part.weight for part in parts]), requires_grad=False
        )
        self.qkv.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
        for part in parts:
            part.weight = part.bias = None  # else memory would hold them twice
        self.mix, self.mix_norm = output.dense, output.LayerNorm
        self.up, self.activation = layer.intermediate.dense, layer.intermediate.intermediate_act_fn
        self.down, self.down_norm = layer.output.dense, layer.output.LayerNorm

    def forward(
        self, states: torch.Tensor, attend: Attention, heads: int, only: torch.Tensor | None = None
    ) -> torch.Tensor:
        seen = attend(self.qkv(states).unflatten(-1, (3, heads, -1))).flatten(1)
        if only is not None:
            seen, states = seen[only], states[only]
        states = self.mix_norm(self.mix(seen).add_(states))
        return self.down_norm(self.down(self.activation(self.up(states))).add_(states))
