"""A tokeniser and a transformer: texts -> token ids -> last hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np

from m3eval.encoders.engine.shape import BERT, ROBERTA, Shape
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.encoders.transfer import to_device
from m3eval.errors import UserError
from m3eval.lazy import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from m3eval.encoders.engine.packs import Pack
    from m3eval.runtime import Runtime


class Checkpoint(Protocol):
    """What a backbone is made of. Each part is read when it is first asked for."""

    @property
    def shape(self) -> Shape:
        """Sizes and architecture; needs neither torch nor transformers where that can be."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The fast tokeniser."""
        ...

    @property
    def special(self) -> dict[str, int]:
        """Ids of the special tokens cls, eos, pad and unk."""
        ...

    def load(self, dtype: torch.dtype) -> torch.nn.Module:
        """The transformer with its weights."""
        ...


class Hidden(NamedTuple):
    """Last hidden states of a pack of B texts with T tokens."""

    rows: np.ndarray  # [B] positions of the texts in the list that is encoded
    lengths: np.ndarray  # [B] int64
    ids: torch.Tensor  # [T] int64
    states: torch.Tensor  # [T, h], in the model's precision

    def on_device(self, array: np.ndarray) -> torch.Tensor:
        """A host array beside the states."""
        return to_device(array, self.states.device)


@dataclass
class Backbone:
    """A checkpoint on a machine. The model is loaded with the first text."""

    checkpoint: Checkpoint
    runtime: Runtime
    # Loads the model in another way than the checkpoint does by itself.
    load: Callable[[torch.dtype], torch.nn.Module] | None = None

    @property
    def shape(self) -> Shape:
        """Sizes and architecture."""
        return self.checkpoint.shape

    @property
    def engine(self) -> Literal["packed", "reference", "openvino"]:
        """Which forward pass computes.

        Raises:
            UserError: one is asked for that does not compute this architecture.
        """
        asked = self.runtime.engine
        if asked == "auto":
            return "packed" if self.shape.packed else "reference"
        if asked != "reference" and not self.shape.packed:
            remedy = "choose engine=auto or reference."
            if asked == "openvino":
                remedy = "leave runtime.engine and runtime.precision out."
            raise UserError(
                f"runtime.engine={asked} computes {', '.join(sorted(BERT | ROBERTA))} with "
                f"absolute positions, this checkpoint is a {self.shape.model_type}: {remedy}"
            )
        return asked

    @cached_property
    def model(self) -> torch.nn.Module:
        """The transformer on its device, in the run's precision, in evaluation mode."""
        from m3eval.encoders.engine.linear import for_cpu
        from m3eval.encoders.engine.packed import PackedTransformer
        from m3eval.encoders.engine.reference import PaddedTransformer

        load, device = self.load or self.checkpoint.load, self.runtime.device
        if self.engine == "reference":
            return PaddedTransformer(load(self.runtime.weights)).to(device).eval()
        packed = PackedTransformer(load(self.runtime.weights)).to(device).eval()
        if self.engine == "openvino":
            from m3eval.encoders.engine.int8 import Int8Transformer

            return Int8Transformer(packed, self.runtime.threads)
        return for_cpu(packed) if device == "cpu" else packed

    @property
    def attention(self) -> str | None:
        """Which self-attention runs; None where the model was not loaded."""
        return str(self.model.attention) if "model" in self.__dict__ else None

    @cached_property
    def tokenization(self) -> Tokenization:
        """Texts -> token ids: see `Tokenization.__call__`."""
        return Tokenization(lambda: self.checkpoint.tokenizer)

    def forward(self, pack: Pack, only: np.ndarray | None = None) -> Hidden:
        """Runs a pack through the model.

        Args:
            pack: texts.
            only: [B] int64, the one token of each text whose state is wanted; the result is then
                that of texts of one token.
        """
        device = torch.device(self.runtime.device)
        states = self.model(pack.ids, pack.lengths, only)  # [T, h], or [B, h]
        ids = to_device(pack.ids if only is None else pack.ids[only], device)
        lengths = pack.lengths if only is None else np.ones_like(pack.lengths)
        return Hidden(pack.rows, lengths, ids, states)
