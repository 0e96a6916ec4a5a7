"""BGE-M3 with mixtures of experts, as fine-tuned with a contrastive learning penalty (CLP; arXiv 2412.17364). Dense only.

In every layer one linear map, ``intermediate.dense`` or ``output.dense``, is replaced by several of the same shape and a gate
that sends each token to some of them. Which one, how many there are and how many a token gets stands in the checkpoint's
config (``moe``, ``num_experts``, ``num_experts_per_tok``); no setting repeats it. With one expert per token the gate has no
gradient, so it is as random as it was drawn: without the checkpoint's own it is another model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from m3eval.encoders.backbone import MOE, from_folder
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.heads import DenseHead
from m3eval.errors import UserError
from m3eval.runtime import Runtime


def load(name: str, label: str, checkpoint: str, revision: str | None, runtime: Runtime) -> Encoder:
    """Builds the encoder; the transformer itself is loaded with the first text.

    Raises:
        UserError: the checkpoint is out of reach, or its config describes no mixture of experts in an XLM-R.
    """
    folder = locate(checkpoint, revision)
    body = from_folder(folder, runtime, MixtureXLMRoberta)
    check(body.config, folder)
    return Encoder(
        name,
        label,
        body,
        {"dense": DenseHead("cls")},
        {"family": "clp_moe", "precision": runtime.precision, "files": hashes(folder)},
        why_no_other=_why_dense_only(folder),
    )


def check(config: transformers.PretrainedConfig, folder: Path) -> None:
    """Raises UserError unless a config describes a mixture of experts that `MixtureXLMRoberta` computes."""
    found = {
        key: getattr(config, key, None) for key in ("moe", "num_experts", "num_experts_per_tok")
    }
    said = f"{folder / 'config.json'} says " + ", ".join(
        f"{key}={value!r}" for key, value in found.items()
    )
    if config.model_type != "xlm-roberta":
        raise UserError(
            f"{folder} is a {config.model_type}; encoder clp_moe is for XLM-R: choose encoder=pooled."
        )
    if found["moe"] not in MOE:
        raise UserError(
            f"{said}: no mixture of experts (moe must be {' or '.join(MOE)}). Choose encoder=bge_m3 or pooled."
        )
    experts, per_token = found["num_experts"], found["num_experts_per_tok"]
    if not (isinstance(experts, int) and isinstance(per_token, int) and 1 <= per_token <= experts):
        raise UserError(
            f"{said}: the experts of a token must be a number from 1 to the number of experts."
        )


class Gate(nn.Module):
    """Logits of the experts, in fp32 whatever the model computes in, since a rounded one sends tokens elsewhere.

    No `nn.Linear`, which 8-bit quantisation would replace.
    """

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[n, experts] float32 from [n, width]."""
        return F.linear(states.float(), self.weight.float())


class TopKLinear(nn.Module):
    """A mixture of linear maps: each token is sent to the `per_token` with the largest logits and gets their weighted sum.

    The weights are the softmax over the chosen logits only, in fp32.
    """

    def __init__(self, width: int, out_features: int, experts: int, per_token: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, out_features) for _ in range(experts))
        self.gate = Gate(width, experts)
        self.out_features, self.per_token = out_features, per_token

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., out_features] from [..., width]."""
        tokens = states.flatten(0, -2)
        logits, chosen = self.gate(tokens).topk(self.per_token, dim=-1)
        weights = logits.softmax(-1).to(tokens.dtype)
        result = tokens.new_zeros(len(tokens), self.out_features)
        for number, expert in enumerate(self.experts):
            which, place = torch.where(chosen == number)
            if len(which):
                result[which] += weights[which, place, None] * expert(tokens[which])
        return result.unflatten(0, states.shape[:-1])


class MixtureXLMRoberta(transformers.XLMRobertaModel):
    """An XLM-R with mixtures where its config says so, so that transformers reads the checkpoint, in one file or several."""

    _keep_in_fp32_modules_strict = ("gate",)

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


def _why_dense_only(folder: Path) -> str:
    lacking = [
        name for name in ("sparse_linear.pt", "colbert_linear.pt") if not (folder / name).exists()
    ]
    if lacking:
        return f"{folder} has no {' or '.join(lacking)}: CLP trains the dense representation only."
    return (
        "CLP trains the dense representation only, so the heads beside its weights are not its own."
    )
