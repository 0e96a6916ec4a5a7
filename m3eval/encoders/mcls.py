"""MCLS (M3 paper, appendix B.2): a CLS token before every so many tokens of a text; dense is the mean of their last states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from m3eval.encoders.backbone import Hidden
from m3eval.encoders.collectors import Rows
from m3eval.encoders.execution import ragged_range
from m3eval.encoders.tokenization import Tokens


@dataclass(frozen=True)
class Mcls:
    """Where the CLS tokens stand: CLS, `interval` tokens, CLS, `interval` tokens, ... EOS. A short text has one, as ever."""

    interval: int

    def insert(self, tokens: Tokens, max_length: int) -> Tokens:
        """Texts of one CLS token with the others inserted, cut so that no text is longer than `max_length`."""
        whole, rest = divmod(max_length - 1, self.interval + 1)  # EOS aside
        room = whole * self.interval + max(0, rest - 1)
        bodies = [ids[1:-1] for ids in tokens.ids]
        cut = sum(
            len(body) > room for body in bodies
        )  # whoever was cut before is cut again, or nobody is
        ids = [self._spaced(ids, body[:room]) for ids, body in zip(tokens.ids, bodies, strict=True)]
        return Tokens(ids, max(tokens.truncated, cut))

    def _spaced(self, ids: np.ndarray, body: np.ndarray) -> np.ndarray:
        before = np.arange(0, max(1, len(body)), self.interval)
        return np.concatenate([np.insert(body, before, ids[0]), ids[-1:]])

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """[B] int64: CLS tokens of texts of so many tokens, all special tokens included."""
        return np.maximum(1, -(-(lengths - 1) // (self.interval + 1)))


@dataclass(frozen=True)
class MclsHead:
    """One vector per text: the mean of its CLS states, scaled to length 1."""

    mcls: Mcls

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor]:
        """[B, h] float32."""
        counts = self.mcls.counts(hidden.lengths)
        starts = np.repeat(np.cumsum(hidden.lengths) - hidden.lengths, counts)
        places = starts + ragged_range(np.zeros_like(counts), counts) * (self.mcls.interval + 1)
        states = hidden.states[hidden.on_device(places)].float()
        vectors = torch.segment_reduce(
            states, "mean", lengths=hidden.on_device(counts), axis=0, unsafe=True
        )
        return (F.normalize(vectors, dim=-1),)

    def token(self, lengths: np.ndarray) -> None:
        """No single token's state will do: see `DenseHead.token`."""
        return

    def collector(self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]) -> Rows:
        """See `Head`."""
        return Rows(len(lengths))
