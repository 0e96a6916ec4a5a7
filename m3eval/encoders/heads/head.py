"""What a head is: it makes one representation of last hidden states, on the device, in fp32.

A head computes the tensors of one pack where the model is. Its collector puts those of all packs
together on the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.errors import UserError
from m3eval.lazy import torch
from m3eval.manifests import Representation

if TYPE_CHECKING:
    from m3eval.encoders.heads.collectors import Collector


class Head(Protocol):
    """One representation of a checkpoint."""

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Tensors of a pack.

        Args:
            hidden: states of the pack's tokens.
            n_prefix: how many tokens of each text, after CLS, are the prefix's.
        """
        ...

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[Any]:
        """What puts the tensors of all packs together.

        Args:
            lengths: [n] tokens of each text.
            n_prefix: how many of them the prefix takes.
            dtype: of multi-vectors and of terms' vectors.
        """
        ...

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """About how many bytes a text of so many tokens takes in a store; `width`: of states."""
        ...


class DenseHead(Head, Protocol):
    """A head that gives one vector per text."""

    def token(self, lengths: np.ndarray) -> np.ndarray | None:
        """The tokens that are read, so that a model need not compute the others' last states.

        Args:
            lengths: [B] tokens of each text of a pack.

        Returns:
            [B] int64, the position in the pack of each text's one token; None: more are read.
        """
        ...


class MultiVectorHead(Head, Protocol):
    """A head that gives a vector for each token that is kept."""

    def vectors(self, lengths: np.ndarray, n_prefix: int) -> np.ndarray:
        """[n] int64: how many vectors texts of so many tokens have."""
        ...


@dataclass
class Heads:
    """The heads for queries, or for documents; None: the checkpoint does not have that one."""

    dense: DenseHead | None = None
    sparse: Head | None = None
    multi_vector: MultiVectorHead | None = None
    term_vectors: Head | None = None

    def __getitem__(self, name: Representation) -> Head:
        head = getattr(self, name)
        if head is None:
            raise KeyError(name)
        return head


def read_linear(path: Path, width: int, bias: bool, why: str) -> torch.nn.Linear:
    """A linear layer in fp32 from a file of its state. No code of a checkpoint is ever run.

    Args:
        path: the file.
        width: of the states that it reads.
        bias: whether it has one.
        why: what to say after "is missing." where it is.

    Raises:
        UserError: the file is missing, damaged or for states of another width.
    """
    require_file(path, why)
    names = ("weight", "bias") if bias else ("weight",)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: state[name].float() for name in names}
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"{path} is not a linear layer's state ({', '.join(names)}): {error}"
        ) from error
    shapes = {name: tuple(weights.shape) for name, weights in state.items()}
    if len(shapes["weight"]) != 2 or shapes.get("bias") not in (None, shapes["weight"][:1]):
        raise UserError(
            f"{path} has the shapes {shapes}: those of a linear layer are (outputs, inputs) and "
            "(outputs,)."
        )
    if state["weight"].shape[1] != width:
        raise UserError(
            f"{path} reads states of width {state['weight'].shape[1]}, the backbone's have {width}."
        )
    linear = torch.nn.Linear(*reversed(state["weight"].shape), bias=bias)
    linear.load_state_dict(state)
    return linear.requires_grad_(False)


def require_file(path: Path, why: str) -> None:
    """Raises UserError, which says why the file is needed, where it is missing."""
    if not path.exists():
        raise UserError(f"{path} is missing. {why}")
