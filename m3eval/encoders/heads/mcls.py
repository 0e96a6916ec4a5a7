"""MCLS (M3 paper, appendix B.2): a CLS token before every so many tokens of a text.

Dense is the mean of the last states of these tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector
from m3eval.encoders.representations import ragged_range
from m3eval.lazy import torch


@dataclass(frozen=True)
class Mcls:
    """Where CLS tokens stand: CLS, `interval` tokens, CLS, `interval` tokens, ... EOS.

    A text of no more than `interval` tokens has one, as ever.
    """

    interval: int

    def insert(self, tokens: Tokens, max_length: int) -> Tokens:
        """Inserts CLS tokens into texts that have one, and cuts texts above `max_length` tokens."""
        whole, rest = divmod(max_length - 1, self.interval + 1)  # EOS aside
        room = whole * self.interval + max(0, rest - 1)
        bodies = [ids[1:-1] for ids in tokens.ids]
        # A text that was cut before is cut again, so nothing is counted twice.
        cut = sum(len(body) > room for body in bodies)
        ids = [self._spaced(ids, body[:room]) for ids, body in zip(tokens.ids, bodies, strict=True)]
        return Tokens(ids, max(tokens.truncated, cut))

    def _spaced(self, ids: np.ndarray, body: np.ndarray) -> np.ndarray:
        places = np.arange(0, max(1, len(body)), self.interval)
        return np.concatenate([np.insert(body, places, ids[0]), ids[-1:]])

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """[B] int64: CLS tokens of texts of so many tokens, all special tokens included."""
        return np.maximum(1, -(-(lengths - 1) // (self.interval + 1)))


@dataclass(frozen=True)
class MeanOfCls:
    """One vector per text: the mean of its CLS states, scaled to length 1."""

    mcls: Mcls

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor]:
        """[B, h] float32."""
        counts = self.mcls.counts(hidden.lengths)  # [B]
        starts = np.repeat(np.cumsum(hidden.lengths) - hidden.lengths, counts)
        which = ragged_range(np.zeros_like(counts), counts)  # 0, 1, ... within each text
        places = starts + which * (self.mcls.interval + 1)  # [sum of counts]
        states = hidden.states[hidden.on_device(places)].float()
        lengths = hidden.on_device(counts)
        vectors = torch.segment_reduce(states, "mean", lengths=lengths, axis=0, unsafe=True)
        return (torch.nn.functional.normalize(vectors, dim=-1),)

    def token(self, lengths: np.ndarray) -> None:
        """No single token's state will do: see `head.DenseHead`."""
        return

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[np.ndarray]:
        """See `head.Head`."""
        return collectors.one_vector(len(lengths))

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 2 * width
