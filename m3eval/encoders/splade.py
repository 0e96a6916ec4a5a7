"""SPLADE: any masked language model whose scores, pooled over a text's tokens, weigh every term of the vocabulary.

A term's weight is log(1 + ReLU(score)), its sum over the tokens in the first version (Formal et al. 2021, section 3.2) or its
maximum since the second (2021b, section 2.1); special tokens are tokens like others. OpenSearch's models take the logarithm
twice (arXiv 2504.14839). Which of these a checkpoint of sentence-transformers is, its files say. neural-cherche puts masks
behind a text and keeps as many terms as a text may have tokens; its metadata.json says so, and is followed. Its padding, of
queries with masks, changes nothing: it is hidden from the model, and its scores are set to zero, which no weight is below.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from m3eval.encoders.backbone import Backbone, Hidden, from_folder
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.collectors import RowsOfTerms
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.mlm import MaskedLM
from m3eval.encoders.splade_files import LOGARITHMS, K, Pooling, framing, stated
from m3eval.encoders.terms import above, strongest
from m3eval.errors import UserError
from m3eval.runtime import Runtime


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    pooling: Pooling | Literal["auto"],
    k_tokens: dict[str, K],
    special_tokens: Literal["keep", "drop"],
    threshold: float,
    query_prefix: str,
    document_prefix: str,
    n_mask_tokens: int | Literal["auto"],
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder; the model itself is loaded with the first text. Settings: see conf/encoder/splade.yaml.

    Raises:
        UserError: the checkpoint is out of reach, cannot be read or is computed in another way, or a setting has no meaning
            or contradicts it.
    """
    if (
        pooling not in ("auto", "max", "sum")
        or special_tokens not in ("keep", "drop")
        or threshold < 0
    ):
        raise UserError(
            f"encoder.pooling={pooling} must be auto, max or sum, encoder.special_tokens={special_tokens} keep or drop, and "
            f"encoder.threshold={threshold} not below 0."
        )
    folder = locate(checkpoint, revision)
    own = stated(folder)
    if pooling not in ("auto", own.pooling or pooling):
        raise UserError(
            f"encoder.pooling={pooling}, but {folder} says pooling_strategy={own.pooling} in its SpladePooling: leave "
            "encoder.pooling=auto."
        )
    pooling = (own.pooling or "max") if pooling == "auto" else pooling
    lm, body = masked(folder, runtime)
    frame = framing(folder, k_tokens, query_prefix, document_prefix, n_mask_tokens, own)
    dropped = special_ids(body) if special_tokens == "drop" else []
    head = SpladeHead(
        lm, pooling, LOGARITHMS[own.activation], None, threshold, dropped, body.config.vocab_size
    )
    return Encoder(
        name,
        label,
        body,
        {"sparse": replace(head, k=frame["k_tokens"]["document"])},
        {"family": "splade", "files": hashes(folder), "precision": runtime.precision}
        | {"pooling": pooling, "special_tokens": special_tokens, "threshold": threshold}
        | ({} if own.activation == "relu" else {"activation": own.activation})
        | frame,
        frame["prefixes"],
        suffixes=frame["suffixes"],
        query_heads={"sparse": replace(head, k=frame["k_tokens"]["query"])},
    )


@dataclass(frozen=True)
class SpladeHead:
    """A weight for every term of the vocabulary that a text activates."""

    lm: MaskedLM
    pooling: Pooling
    logarithms: int
    k: int | None  # terms that stay; None: all
    threshold: float  # weights that do not exceed it are dropped
    dropped_ids: Collection[int]  # terms that never carry a weight
    vocabulary: int

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights of the texts of a pack: see `terms.strongest`."""
        found = []
        for weights, _, _ in weighed(self.lm, hidden, self.pooling, self.logarithms):
            weights[:, list(self.dropped_ids)] = 0
            found.append(strongest(weights, self.k))
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> RowsOfTerms:
        """See `heads.Head`."""
        return RowsOfTerms(
            len(lengths), self.vocabulary, lambda texts, *found: above(self.threshold, *found)
        )


def weighed(
    lm: MaskedLM, hidden: Hidden, pooling: Pooling = "max", logarithms: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Weights of every term, for a few texts at a time.

    Args:
        lm: has the head.
        hidden: states of a pack.
        pooling: over a text's tokens.
        logarithms: how often log(1 + x) is taken after the ReLU.

    Yields:
        weights [n, vocabulary] float32, and the tokens' states as `MaskedLM.pooled` gives them.
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
    for scores, states, transformed in lm.pooled(
        hidden, partial(torch.amax, dim=1), partial(torch.amax, dim=0)
    ):
        yield weigh(scores), states, transformed


def masked(folder: Path, runtime: Runtime) -> tuple[MaskedLM, Backbone]:
    """A masked language model's head, and the backbone whose states it reads.

    Raises:
        UserError: as `from_folder` does.
    """
    lm = MaskedLM(folder, runtime.device)
    return lm, replace(from_folder(folder, runtime), load=lm.load)


def special_ids(body: Backbone) -> list[int]:
    """Ids of every special token, sorted."""
    return sorted(
        number
        for number, token in body.tokenizer.get_added_tokens_decoder().items()
        if token.special
    )
