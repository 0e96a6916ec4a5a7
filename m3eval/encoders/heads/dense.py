"""Dense: one vector per text, pooled from the states of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector
from m3eval.lazy import torch

Pooling = Literal["cls", "mean", "last"]


@dataclass(frozen=True)
class PooledVector:
    """The first, the last or the mean of a text's token states."""

    pooling: Pooling
    normalize: bool = True  # scale vectors to length 1

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor]:
        """[B, h] float32."""
        if (token := self.token(hidden.lengths)) is not None:
            vectors = hidden.states[hidden.on_device(token)].float()  # [B, h]
        else:
            lengths = hidden.on_device(hidden.lengths)
            states = hidden.states.float()  # [T, h]
            vectors = torch.segment_reduce(states, "mean", lengths=lengths, axis=0, unsafe=True)
        return (torch.nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors,)

    def token(self, lengths: np.ndarray) -> np.ndarray | None:
        """See `head.DenseHead`."""
        ends = np.cumsum(lengths)
        return {"cls": ends - lengths, "last": ends - 1, "mean": None}[self.pooling]

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[np.ndarray]:
        """See `head.Head`."""
        return collectors.one_vector(len(lengths))

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 2 * width
