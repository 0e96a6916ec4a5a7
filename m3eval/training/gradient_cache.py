"""Texts encoded in parts: memory for the activations of one part, gradients of the whole batch.

Each part is encoded without keeping its activations. The loss is taken over all of them, and its
gradient with respect to the embeddings is carried back through one part after the other, which is
encoded again with the same random numbers (GradCache, arXiv 2101.06983). That is activation
checkpointing around the whole encoder, which torch has.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from m3eval.training.similarity import Embedded, concatenated

# What an encoder reads of n texts: tensors by name, [n, length, ...]. "mask" is True at tokens.
Side = dict[str, torch.Tensor]


def encoded(encoder: nn.Module, side: Side, part_size: int | None, again: bool) -> Embedded:
    """What the encoder makes of a batch's texts.

    Args:
        encoder: takes a side and gives its embeddings.
        side: n texts.
        part_size: texts that are encoded at once; None: all.
        again: keep no activations, and encode each part again for its gradient.
    """
    count = len(side["mask"])
    size = part_size or count
    if size >= count:
        return encoder(side)
    embedded = []
    for start in range(0, count, size):
        part = _trimmed({name: tensor[start : start + size] for name, tensor in side.items()})
        if again and torch.is_grad_enabled():
            embedded.append(checkpoint(encoder, part, use_reentrant=False))
        else:
            embedded.append(encoder(part))
    return concatenated(embedded)


def _trimmed(part: Side) -> Side:
    """Without the columns in which no text of the part has a token."""
    longest = int(part["mask"].sum(1).max())
    return {name: tensor[:, :longest] for name, tensor in part.items()}
