"""Latent terms: what a sparse autoencoder over the states of a model activates.

A token's state activates the few strongest latent terms, ReLU(W h + b). A text has the largest
activation of each over its tokens, CLS, EOS and prefix aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.engine.packs import groups, inner_tokens
from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import Collector
from m3eval.encoders.heads.terms import strongest_terms, terms_above
from m3eval.lazy import torch

if TYPE_CHECKING:
    import scipy.sparse

NUMBERS = 32_000_000  # activations (tokens x terms) in memory at once: 128 MB


@dataclass(frozen=True)
class LatentTerms:
    """The latent terms of a text."""

    layer: torch.nn.Linear  # [h] -> [terms]
    of_token: int  # terms that a token activates at most
    k: int | None  # terms that a text keeps; None: all

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights of a pack's texts: see `terms.strongest_terms`."""
        layer = self.layer.to(hidden.states.device)
        places = inner_tokens(hidden.lengths, 1 + n_prefix, 1)
        states = hidden.states[hidden.on_device(places)].float()  # [sum of lengths, h]
        lengths = np.maximum(hidden.lengths - 2 - n_prefix, 0)  # tokens that count
        parts = []
        for tokens, runs in groups(lengths, NUMBERS // layer.out_features):
            weights, terms = layer(states[tokens]).topk(self.of_token, dim=1)  # [tokens, of_token]
            for run in runs:
                shape = (run.texts, run.length * self.of_token)
                of_terms, of_weights = terms[run.tokens], weights[run.tokens]
                # Zero stays the least activation: this is the ReLU.
                texts = of_weights.new_zeros(run.texts, layer.out_features)
                texts = texts.scatter_reduce(
                    1, of_terms.reshape(shape), of_weights.reshape(shape), "amax"
                )
                parts.append(strongest_terms(texts, self.k))
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> Collector[scipy.sparse.csr_array]:
        """See `head.Head`."""
        return collectors.weighted_terms(
            len(lengths), self.layer.out_features, lambda rows, *arrays: terms_above(0, *arrays)
        )

    def bytes_per_text(self, width: int, tokens: float) -> float:
        """See `head.Head`."""
        return 6 * tokens
