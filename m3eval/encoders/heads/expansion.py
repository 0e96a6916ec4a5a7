"""SparseEmbed's terms: those that SPLADE activates, each with a vector made of token states."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector, PackRows
from m3eval.encoders.heads.mlm import MaskedLM
from m3eval.encoders.heads.splade import term_weights
from m3eval.encoders.heads.terms import select_terms, strongest_terms, terms_above
from m3eval.encoders.representations import TermVectors
from m3eval.lazy import torch

if TYPE_CHECKING:
    import scipy.sparse

AttentionOver = Literal["positions", "terms"]
AXES = {"positions": 1, "terms": 2}  # of [texts, positions, terms]


class ExpandedTerms(NamedTuple):
    """The terms of a pack's texts, one text after the other."""

    counts: torch.Tensor  # [B] int64, terms of each text
    terms: torch.Tensor  # [sum of counts] int32, ascending within a text
    weights: torch.Tensor  # [sum of counts] float32
    vectors: torch.Tensor  # [sum of counts, d] float32


@dataclass(frozen=True)
class Expansion:
    """Computes the terms of a pack once for the two heads that ask one after the other."""

    lm: MaskedLM
    linear: torch.nn.Linear
    k: int  # terms of a text
    attention_over: AttentionOver
    # Each thread works on a pack of its own.
    last: threading.local = field(default_factory=threading.local, compare=False)

    def __call__(self, hidden: Hidden) -> ExpandedTerms:
        """The terms of a pack's texts."""
        if getattr(self.last, "hidden", None) is not hidden:
            self.last.hidden, self.last.terms = hidden, self._compute(hidden)
        return self.last.terms

    def _compute(self, hidden: Hidden) -> ExpandedTerms:
        parts, linear = [], self.linear.to(hidden.states.device)
        for all_weights, states, transformed in term_weights(self.lm, hidden):
            counts, terms, weights = strongest_terms(all_weights, self.k)
            of_text = terms.view(len(states), -1).long()  # [n, k]
            scores = self.lm.logits(transformed, of_text)  # [n, length, k]
            attention = scores.softmax(AXES[self.attention_over])
            vectors = linear(attention.transpose(1, 2) @ states.float()).relu()  # [n, k, d]
            parts.append((counts, terms, weights, vectors.flatten(0, 1)))
        return ExpandedTerms(*map(torch.cat, zip(*parts, strict=True)))


@dataclass(frozen=True)
class ExpansionWeights:
    """The weights of the terms, without those that are zero."""

    expansion: Expansion
    vocabulary: int

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights: see `ExpandedTerms`."""
        return self.expansion(hidden)[:3]

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[scipy.sparse.csr_array]:
        """See `head.Head`."""
        return collectors.weighted_terms(
            len(lengths), self.vocabulary, lambda rows, *arrays: terms_above(0, *arrays)
        )

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 6 * tokens


@dataclass(frozen=True)
class ExpansionVectors:
    """The terms with a vector each."""

    expansion: Expansion
    drop_inactive: bool  # leave out terms with weight zero

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms, weights and vectors: see `ExpandedTerms`."""
        return self.expansion(hidden)

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[TermVectors]:
        """See `head.Head`."""
        return collectors.terms_with_vectors(len(lengths), dtype, self._read)

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return self.expansion.k * (4 + 2 * self.expansion.linear.out_features)

    def _read(
        self,
        rows: np.ndarray,
        counts: np.ndarray,
        terms: np.ndarray,
        weights: np.ndarray,
        vectors: np.ndarray,
    ) -> PackRows:
        chosen = ~(weights <= 0) if self.drop_inactive else np.ones(len(weights), bool)
        return select_terms(counts, chosen, terms, vectors)
