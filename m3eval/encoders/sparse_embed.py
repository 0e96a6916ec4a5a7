"""SparseEmbed (Kong et al. 2023): the terms that SPLADE activates, each with a vector made of the text's token states.

A text keeps the k terms of largest weight. The scores of these terms at every position say how much of the state there goes
into a term's vector, which a linear layer and a ReLU make smaller. In the paper a softmax over the positions shares a term
out; in neural-cherche 1.x a softmax over the terms shares a position out. Its checkpoints have the layer in linear.pt (weight
[d, h]) and what stands around texts in metadata.json.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from m3eval.encoders.backbone import Hidden
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.collectors import RowsOfTerms, RowsOfTermVectors
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.heads import Head, read_linear
from m3eval.encoders.mlm import MaskedLM
from m3eval.encoders.representations import Representation
from m3eval.encoders.splade import masked, weighed
from m3eval.encoders.splade_files import K, framing
from m3eval.encoders.terms import above, strongest
from m3eval.errors import UserError
from m3eval.runtime import Runtime

AXES = {"positions": 1, "terms": 2}  # of [texts, positions, terms]


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    attention_over: Literal["positions", "terms"],
    k_tokens: dict[str, K],
    inactive_terms: Literal["keep", "drop"],
    query_prefix: str,
    document_prefix: str,
    n_mask_tokens: int | Literal["auto"],
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder; the model itself is loaded with the first text. Settings: see conf/encoder/sparse_embed.yaml.

    Raises:
        UserError: the checkpoint is out of reach or cannot be read, or a setting has no meaning.
    """
    if attention_over not in AXES or inactive_terms not in ("keep", "drop"):
        raise UserError(
            f"encoder.attention_over={attention_over} must be {' or '.join(AXES)}, and encoder.inactive_terms={inactive_terms} "
            "keep or drop."
        )
    folder = locate(checkpoint, revision)
    lm, body = masked(folder, runtime)
    why = "A SparseEmbed checkpoint has its projection there; without one it is a SPLADE (encoder=splade)."
    linear = read_linear(folder / "linear.pt", body.config.hidden_size, False, why)
    frame = framing(folder, k_tokens, query_prefix, document_prefix, n_mask_tokens)
    if None in frame["k_tokens"].values():
        raise UserError(
            f"{folder}: SparseEmbed keeps a number of terms per text: give encoder.k_tokens.query= and .document=."
        )

    def heads(k: int) -> dict[Representation, Head]:
        expansion = Expansion(lm, linear, k, attention_over)
        return {
            "sparse": ExpansionHead(expansion, body.config.vocab_size),
            "term_vectors": TermVectorsHead(expansion, inactive_terms == "drop"),
        }

    return Encoder(
        name,
        label,
        body,
        heads(frame["k_tokens"]["document"]),
        {"family": "sparse_embed", "files": hashes(folder), "precision": runtime.precision}
        | {"attention_over": attention_over, "inactive_terms": inactive_terms}
        | frame,
        frame["prefixes"],
        suffixes=frame["suffixes"],
        query_heads=heads(frame["k_tokens"]["query"]),
    )


@dataclass(frozen=True)
class Expansion:
    """The terms of a pack's texts, their weights and vectors: computed once for the heads that ask one after the other."""

    lm: MaskedLM
    linear: torch.nn.Linear
    k: int
    attention_over: Literal["positions", "terms"]
    last: threading.local = field(
        default_factory=threading.local, compare=False
    )  # each thread has a pack of its own

    def __call__(self, hidden: Hidden) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms [sum of counts] int32, weights [sum of counts] and vectors [sum of counts, d] float32."""
        if getattr(self.last, "hidden", None) is not hidden:
            self.last.hidden, self.last.found = hidden, self._compute(hidden)
        return self.last.found

    def _compute(self, hidden: Hidden) -> tuple[torch.Tensor, ...]:
        found, linear = [], self.linear.to(hidden.states.device)
        for all_weights, states, transformed in weighed(self.lm, hidden):
            counts, terms, weights = strongest(all_weights, self.k)
            scores = self.lm.logits(transformed, terms.view(len(states), -1).long())
            attention = scores.softmax(AXES[self.attention_over])  # [n, length, k]
            vectors = linear(attention.transpose(1, 2) @ states.float()).relu()
            found.append((counts, terms, weights, vectors.flatten(0, 1)))
        return tuple(map(torch.cat, zip(*found, strict=True)))


@dataclass(frozen=True)
class ExpansionHead:
    """The weights of the terms, without those that are zero."""

    expansion: Expansion
    vocabulary: int

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights: see `Expansion`."""
        return self.expansion(hidden)[:3]

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> RowsOfTerms:
        """See `heads.Head`."""
        return RowsOfTerms(len(lengths), self.vocabulary, lambda texts, *found: above(0, *found))


@dataclass(frozen=True)
class TermVectorsHead:
    """The terms with a vector each."""

    expansion: Expansion
    drop_inactive: bool

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms, weights and vectors: see `Expansion`."""
        return self.expansion(hidden)

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> RowsOfTermVectors:
        """See `heads.Head`."""
        return RowsOfTermVectors(
            len(lengths), dtype, lambda weights: weights > 0 if self.drop_inactive else weights >= 0
        )

    @property
    def size(self) -> int:
        """Bytes of a text in a store, at most."""
        return self.expansion.k * (4 + 2 * self.expansion.linear.out_features)
