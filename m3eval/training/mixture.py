"""Mixtures of experts made out of a plain transformer, of which each expert is a copy."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

from torch import nn

from m3eval.console import say
from m3eval.encoders.engine.mixture import TopKLinear
from m3eval.errors import UserError

Part = Literal["intermediate", "output"]


def mixed(body: Any, part: Part, experts: int, per_token: int) -> Any:
    """Replaces one linear map of every layer by a mixture of copies of it.

    It computes what it computed before until experts or gates learn. A gate is drawn as torch draws
    a linear layer, so it depends on the random state.

    Args:
        body: an XLM-R, which is changed.
        part: whose `dense` is replaced.
        experts: of a layer.
        per_token: of which a token is sent to so many.

    Raises:
        UserError: it is no XLM-R, or a token would get more experts than there are.
    """
    if (kind := body.config.model_type) != "xlm-roberta":
        raise UserError(f"objective.mixture is for XLM-R, and the start is a {kind}.")
    if per_token > experts:
        raise UserError(
            f"objective.mixture.per_token={per_token}: there are {experts} experts, so at most "
            "that."
        )
    for layer in body.encoder.layer:
        place = getattr(layer, part)
        place.dense = _copies(place.dense, experts, per_token)
    body.config.update({"moe": part, "num_experts": experts, "num_experts_per_tok": per_token})
    if per_token == 1:
        say(
            "  mixture      with one expert a token its weight is 1, so no gate has a gradient, "
            "and all stay as they are drawn now"
        )
        for layer in body.encoder.layer:
            getattr(layer, part).dense.gate.requires_grad_(False)
    return body


def _copies(plain: nn.Linear, experts: int, per_token: int) -> TopKLinear:
    mixture = TopKLinear(plain.in_features, plain.out_features, experts, per_token)
    mixture.experts = nn.ModuleList(deepcopy(plain) for _ in range(experts))
    drawn = nn.Linear(plain.in_features, experts, bias=False)
    mixture.gate.weight = nn.Parameter(drawn.weight.detach())
    return mixture
