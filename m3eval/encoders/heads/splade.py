"""SPLADE's weights: scores of a language model, pooled over a text's tokens.

A term's weight is log(1 + ReLU(score)), its sum over the tokens in the first version (Formal et al.
2021, section 3.2) or its maximum since the second (2021b, section 2.1). OpenSearch's models take
the logarithm twice (arXiv 2504.14839).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector
from m3eval.encoders.heads.mlm import MaskedLM, PooledScores
from m3eval.encoders.heads.terms import strongest_terms, terms_above
from m3eval.lazy import torch

if TYPE_CHECKING:
    import scipy.sparse

TermPooling = Literal["max", "sum"]


@dataclass(frozen=True)
class SpladeTerms:
    """A weight for every term of the vocabulary that a text activates."""

    lm: MaskedLM
    pooling: TermPooling
    logarithms: int  # how often log(1 + x) is taken after the ReLU
    k: int | None  # terms that stay; None: all
    threshold: float  # weights that do not exceed it are dropped
    dropped_ids: Collection[int]  # terms that never carry a weight
    vocabulary: int

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights of a pack's texts: see `terms.strongest_terms`."""
        parts = []
        for weights, _, _ in term_weights(self.lm, hidden, self.pooling, self.logarithms):
            weights[:, list(self.dropped_ids)] = 0
            parts.append(strongest_terms(weights, self.k))
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[scipy.sparse.csr_array]:
        """See `head.Head`."""
        return collectors.weighted_terms(
            len(lengths),
            self.vocabulary,
            lambda rows, *arrays: terms_above(self.threshold, *arrays),
        )

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 6 * tokens


def term_weights(
    lm: MaskedLM, hidden: Hidden, pooling: TermPooling = "max", logarithms: int = 1
) -> Iterator[PooledScores]:
    """Weights of every term, in place of scores, for a few texts at a time.

    Args:
        lm: has the language model's head.
        hidden: states of a pack.
        pooling: over a text's tokens.
        logarithms: how often log(1 + x) is taken after the ReLU.
    """

    def weigh(scores: torch.Tensor) -> torch.Tensor:
        weights = scores.float().relu()
        for _ in range(logarithms):
            weights = torch.log1p(weights)
        return weights

    if pooling == "sum":
        yield from lm.pooled(hidden, lambda scores: weigh(scores).sum(1), partial(torch.sum, dim=0))
        return
    # The largest score gives the largest weight, so only its logarithm is taken.
    largest, of_parts = partial(torch.amax, dim=1), partial(torch.amax, dim=0)
    for pooled in lm.pooled(hidden, largest, of_parts):
        yield pooled._replace(scores=weigh(pooled.scores))
