"""What is trained: a transformer and heads, in transformers' own forward pass.

The packed engine cannot train (it computes in place). In fp32 the two agree to 1e-5.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from m3eval.encoders.heads.dense import Pooling
from m3eval.encoders.heads.head import read_linear
from m3eval.errors import UserError
from m3eval.training.gradient_cache import Side, encoded
from m3eval.training.similarity import Embedded

EVEN = 0.1  # the weight of every token at first: above 0, where a head has a gradient


class M3Model(nn.Module):
    """An M3 model: dense, and the heads that it has.

    Args:
        body: the transformer.
        heads: sparse and multi_vector, linear layers by name.
        ways: what is computed: dense, sparse, multi_vector.
        pooling: of dense.
        dropped: token ids that never carry a lexical weight.
    """

    def __init__(
        self,
        body: Any,
        heads: Mapping[str, nn.Linear],
        ways: Collection[str],
        pooling: Pooling,
        dropped: Collection[int],
    ) -> None:
        super().__init__()
        self.body, self.heads, self.ways = body, nn.ModuleDict(heads), list(ways)
        self.pooling: Pooling = pooling
        self.dropped: torch.Tensor
        self.register_buffer("dropped", torch.tensor(sorted(dropped)), persistent=False)

    def forward(self, side: Side) -> Embedded:
        """Embeddings of n texts.

        Returns:
            "dense" [n, h]; "terms" [n, length] int64 and "weights" [n, length]; "vectors"
            [n, length, d] and "real" [n, length] bool.
        """
        states = hidden_states(self.body, side)
        embedded: Embedded = {}
        with torch.autocast(states.device.type, enabled=False):
            states = states.to(torch.promote_types(states.dtype, torch.float32))
            if "dense" in self.ways:
                embedded["dense"] = pooled(states, side["mask"], self.pooling)
            if "sparse" in self.ways:
                counts = side["kept"] & ~torch.isin(side["ids"], self.dropped)
                weights = self.heads["sparse"](states)[..., 0].relu()
                embedded["terms"] = side["ids"]
                embedded["weights"] = weights.masked_fill(~counts, 0)
            if "multi_vector" in self.ways:
                real = side["kept"]
                own = nn.functional.normalize(self.heads["multi_vector"](states[real]), dim=-1)
                vectors = own.new_zeros(*real.shape, own.shape[-1])
                embedded["vectors"] = vectors.masked_scatter(real[..., None], own)
                embedded["real"] = real
        return embedded


def hidden_states(body: Any, side: Side) -> torch.Tensor:
    """[n, length, h]: last hidden states; those of a frozen body may come with the texts."""
    if "states" in side:
        return side["states"]
    return body(input_ids=side["ids"], attention_mask=side["mask"].long()).last_hidden_state


def pooled(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """[n, h] of length 1: the first, the last or the mean of the states of each text's tokens."""
    if pooling == "cls":
        vectors = states[:, 0]
    elif pooling == "last":
        vectors = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    else:
        vectors = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return nn.functional.normalize(vectors, dim=-1)


class Trained(nn.Module):
    """An encoder as the trainer calls it: once for all sides of a batch.

    Args:
        encoder: takes a side and gives its embeddings; its transformer is `encoder.body`.
        part_size: texts that are encoded at once; None: all.
        gradient_cache: encode parts a second time instead of keeping their activations.
        frozen_body: the transformer does not learn, and computes as it does in evaluation.
    """

    def __init__(
        self,
        encoder: nn.Module,
        part_size: int | None = None,
        gradient_cache: bool = False,
        frozen_body: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.part_size, self.gradient_cache = encoder, part_size, gradient_cache
        self.frozen_body = frozen_body

    def forward(self, sides: Mapping[str, Side]) -> dict[str, Embedded]:
        """The embeddings of each side."""
        return {
            name: encoded(self.encoder, side, self.part_size, self.gradient_cache)
            for name, side in sides.items()
        }

    def train(self, mode: bool = True) -> Trained:
        """Turns dropout on, but not in a transformer that does not learn."""
        super().train(mode)
        if self.frozen_body:
            self.encoder.get_submodule("body").eval()
        return self


def freeze(model: nn.Module, only_train: Collection[str] | None) -> None:
    """Lets only those parameters learn whose names begin with one of these; None: all.

    Raises:
        UserError: a beginning is no parameter's.
    """
    if only_train is None:
        return
    names = [name for name, _ in model.named_parameters()]
    for beginning in only_train:
        if not any(begins(name, beginning) for name in names):
            raise UserError(
                f"objective.only_train: no parameter's name begins with {beginning}; there are, "
                f"for example, {', '.join(names[:2] + names[-2:])}."
            )
    for name, parameter in model.named_parameters():
        if not any(begins(name, beginning) for beginning in only_train):
            parameter.requires_grad_(False)


def begins(name: str, beginning: str) -> bool:
    """Whether a parameter's name begins so; * stands for what is between two dots.

    So ``layer.*.output.`` is no beginning of ``layer.0.attention.output.dense``.
    """
    parts = map(re.escape, beginning.split("*"))
    return re.match("[^.]*".join(parts), name) is not None


def linear(path: Path | None, width: int, outputs: int, identity: bool) -> nn.Linear:
    """A head: read from its file, or new.

    Args:
        path: of its state; None, or no such file: a new one.
        width: of the states that it reads.
        outputs: of a new one.
        identity: a new one changes nothing at first; else it gives every state the same number. A
            random one stays in what is learnt, as noise: hundreds of steps do not wash it out.
    """
    if path is not None and path.exists():
        return read_linear(path, width, True, "").requires_grad_(True)
    layer = nn.Linear(width, outputs)
    if identity:
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    else:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, EVEN)
    return layer
