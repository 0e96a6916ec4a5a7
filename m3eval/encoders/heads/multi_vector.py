"""Multi-vector: a vector for every token of a text that is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.engine.packs import inner_tokens
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector
from m3eval.encoders.representations import Ragged
from m3eval.lazy import torch


@dataclass(frozen=True)
class TokenVectors:
    """The state of each token but CLS and the prefix, projected and scaled to length 1."""

    linear: torch.nn.Module | None  # None: the states themselves
    drop_eos: bool  # M3 keeps EOS
    dimension: int  # of a vector

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor]:
        """[sum of kept tokens, d] float32, texts in the order of the pack."""
        places = inner_tokens(hidden.lengths, 1 + n_prefix, int(self.drop_eos))
        states = hidden.states[hidden.on_device(places)].float()  # [kept, h]
        if self.linear is not None:
            states = self.linear.to(states.device)(states)  # [kept, d]
        return (torch.nn.functional.normalize(states, dim=-1),)

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[Ragged]:
        """See `head.Head`."""
        counts = self.vectors(lengths, n_prefix)
        return collectors.several_vectors(counts, self.dimension, dtype)

    def vectors(self, lengths: np.ndarray, n_prefix: int) -> np.ndarray:
        """See `head.MultiVectorHead`."""
        return np.maximum(lengths - 1 - n_prefix - self.drop_eos, 0)

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 2 * width * tokens
