"""No number that is not finite leaves an encoder: scores made of it would look like any others.

NaN weights, an overflow in fp16 and one damaged row of embeddings all show in what the heads give.
It is looked at where it comes to the host, before weights of zero are left out. Stores hold
float16, dense vectors float32 on demand, so what is too large for that is refused as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.errors import UserError
from m3eval.lazy import torch

CALLED = {
    "dense": "dense vector",
    "sparse": "sparse vector",
    "multi_vector": "multi-vector",
    "term_vectors": "vector of a term",
}


class NotFinite(UserError):
    """A number that is not finite, or that the type of its store does not hold.

    Args:
        where: the text, or the pair of texts, that got it.
        value: the number.
        most: the largest that may be.
        source: what computed it, for the remedy.
    """

    def __init__(self, where: str, value: float, most: float, source: str) -> None:
        if np.isfinite(value):
            message = (
                f"{where} has {value:,.6g} in it, stores hold float16, up to {most:,.0f}: set "
                "encoder.normalize=true, or choose an encoder of smaller numbers. Dense vectors "
                "can be kept as they are by store.dense.type=float32."
            )
        else:
            message = f"{where} has {value} in it: {remedy(source)}"
        super().__init__(message)


@dataclass(frozen=True)
class Watch:
    """Looks at the numbers that the texts of one list get."""

    role: Role
    ids: Sequence[str]  # of the texts, where they have any
    most: Callable[[str], float]  # the largest number that a representation may have
    source: str  # the precision that the model computes in, or the library or service

    def look(self, name: str, values: np.ndarray, text_of: Callable[[int], int]) -> None:
        """Looks at numbers of a representation.

        Args:
            name: of the representation.
            values: [n] or [n, d], floating.
            text_of: row of the values -> position of its text in the list.

        Raises:
            NotFinite: names the text, the representation and the remedy.
        """
        most = self.most(name)
        if (row := first_beyond(values, most)) is None:
            return
        position, of_row = text_of(row), np.atleast_1d(values[row])
        text = repr(self.ids[position]) if self.ids else f"number {position + 1}"
        where = f"The {CALLED[name]} of {self.role} {text}"
        value = float(of_row[~within(of_row, most)][0])
        raise NotFinite(where, value, most, self.source)


def first_beyond(values: np.ndarray, most: float) -> int | None:
    """The first row of [n] or [n, d] numbers that has one beyond `most`, or none at all (NaN).

    One pass that allocates nothing says of nearly all arrays that there is none.
    """
    if not values.size:
        return None
    low, high = torch.aminmax(torch.from_numpy(values))  # NaN where there is one
    if -most <= float(low) and float(high) <= most:
        return None
    sound = within(values, most).reshape(len(values), -1).all(1)
    return int(np.flatnonzero(~sound)[0])


def within(values: np.ndarray, most: float) -> np.ndarray:
    """Of the shape of `values`, bool: which are finite and not beyond `most`."""
    return np.abs(values) <= most


def remedy(source: str) -> str:
    """What to do where a number is not finite."""
    if source == "fp16":
        return (
            "choose runtime.precision=fp32 or bf16, whose numbers reach farther than fp16's. If it "
            "is still there, the checkpoint is damaged."
        )
    if source in ("fp32", "bf16"):
        return "the checkpoint is damaged, fetch or train it again."
    return f"{source} gave it. Finished shards are kept: ask there, then run again."
