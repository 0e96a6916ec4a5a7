"""SPLADE: any masked language model whose scores, pooled over a text's tokens, weigh every term of the vocabulary.

A term's weight is log(1 + ReLU(score)), its sum over the tokens in the first version (Formal et al. 2021, section 3.2) or its
maximum since the second (2021b, section 2.1); special tokens are tokens like others. neural-cherche puts masks behind a text
and keeps as many terms as a text may have tokens; its metadata.json says so, and is followed. Its padding, of queries with
masks, changes nothing: it is hidden from the model, and its scores are set to zero, which no weight is below.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers

from m3eval.encoders.backbone import Backbone, Hidden, from_folder
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.collectors import RowsOfTerms
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.mlm import MaskedLM
from m3eval.encoders.terms import above, strongest
from m3eval.errors import UserError
from m3eval.files import read_json
from m3eval.runtime import Runtime

Pooling = Literal["max", "sum"]
K = int | Literal["auto"] | None


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    pooling: Pooling,
    k_tokens: dict[str, K],
    special_tokens: Literal["keep", "drop"],
    threshold: float,
    query_prefix: str,
    passage_prefix: str,
    n_mask_tokens: int | Literal["auto"],
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder; the model itself is loaded with the first text.

    Args:
        name: names stores and results.
        label: what tables call it.
        checkpoint: folder, hub id, or ``package:`` and a folder within an installed package.
        revision: on the hub.
        pooling: over a text's tokens.
        k_tokens: query and passage -> how many terms stay; None: all; auto: as metadata.json says, all where there is none.
        special_tokens: whether special tokens may be terms.
        threshold: terms of this weight or less are dropped.
        query_prefix: before every query; auto: as metadata.json says.
        passage_prefix: before every passage, likewise.
        n_mask_tokens: masks behind every text; auto: as metadata.json says, none where there is none.
        runtime: the machine.

    Raises:
        UserError: the checkpoint is out of reach or cannot be read, or a setting has no meaning.
    """
    if pooling not in ("max", "sum") or special_tokens not in ("keep", "drop") or threshold < 0:
        raise UserError(
            f"encoder.pooling={pooling} must be max or sum, encoder.special_tokens={special_tokens} keep or drop, and "
            f"encoder.threshold={threshold} not below 0."
        )
    folder = locate(checkpoint, revision)
    lm, body = masked(folder, runtime)
    frame = framing(folder, k_tokens, query_prefix, passage_prefix, n_mask_tokens)
    dropped = special_ids(body) if special_tokens == "drop" else []
    head = SpladeHead(lm, pooling, None, threshold, dropped, body.config.vocab_size)
    return Encoder(
        name,
        label,
        body,
        {"sparse": replace(head, k=frame["k_tokens"]["passage"])},
        {"family": "splade", "files": hashes(folder), "precision": runtime.precision}
        | {"pooling": pooling, "special_tokens": special_tokens, "threshold": threshold}
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
    k: int | None  # terms that stay; None: all
    threshold: float  # weights that do not exceed it are dropped
    dropped_ids: Collection[int]  # terms that never carry a weight
    vocabulary: int

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights of the texts of a pack: see `terms.strongest`."""
        found = []
        pool, fold = POOLINGS[self.pooling]
        for pooled, _, _ in self.lm.pooled(hidden, pool, fold):
            weights = pooled if self.pooling == "sum" else torch.log1p(pooled.float().relu())
            weights[:, list(self.dropped_ids)] = 0
            found.append(strongest(weights, self.k))
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def collector(self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]) -> RowsOfTerms:
        """See `heads.Head`."""
        return RowsOfTerms(len(lengths), self.vocabulary, lambda texts, *found: above(self.threshold, *found))


# [n, length, vocabulary] scores -> [n, vocabulary], and how parts of a text are put together. The largest score gives the
# largest weight, so one logarithm per term is enough.
POOLINGS = {
    "max": (partial(torch.amax, dim=1), partial(torch.amax, dim=0)),
    "sum": (lambda scores: torch.log1p(scores.float().relu()).sum(1), partial(torch.sum, dim=0)),
}


def masked(folder: Path, runtime: Runtime) -> tuple[MaskedLM, Backbone]:
    """A masked language model's head, and the backbone whose states it reads.

    Raises:
        UserError: as `from_folder` does.
    """
    lm = MaskedLM(folder, runtime.device)
    return lm, replace(from_folder(folder, runtime), load=lm.load)


def framing(
    folder: Path, k_tokens: dict[str, K], query_prefix: str, passage_prefix: str, n_mask_tokens: int | str
) -> dict[str, Any]:
    """What stands around texts and how many terms stay: as given or, where that says auto, as neural-cherche's metadata.json.

    Returns:
        prefixes, suffixes and k_tokens, each of query and passage.

    Raises:
        UserError: the settings are incomplete, or the file prescribes what is not done here.
    """
    path = folder / "metadata.json"
    file = read_json(path) if path.exists() else {}
    if file.get("add_special_tokens", True) is not True or file.get("truncation", True) is not True:
        raise UserError(f"{path}: texts without special tokens, or uncut, are not supported.")
    roles = {"query": "query", "passage": "document"}  # ours -> its
    if set(k_tokens) != set(roles):
        raise UserError(f"encoder.k_tokens={k_tokens}: give query and passage a number, null or auto.")
    prefixes = {"query": query_prefix, "passage": passage_prefix}
    prefixes = {
        role: file.get(f"{its}_prefix", "") if prefixes[role] == "auto" else prefixes[role] for role, its in roles.items()
    }
    counts = {
        role: file.get(f"max_length_{its}") if k_tokens[role] == "auto" else k_tokens[role] for role, its in roles.items()
    }
    for role, k in counts.items():
        if k is not None and k < 1:
            raise UserError(f"encoder.k_tokens.{role}={k}: at least one term must stay.")
    # Its first version wrote the lengths only, and had three masks like the later ones.
    masks = (file.get("n_mask_tokens", 3) if file else 0) if n_mask_tokens == "auto" else n_mask_tokens
    mask = transformers.AutoTokenizer.from_pretrained(folder).mask_token if masks else ""
    if mask is None:
        raise UserError(f"{folder}: the tokeniser has no mask token, encoder.n_mask_tokens={masks} cannot be.")
    suffix = f" {' '.join([mask] * masks)}" if masks else ""
    return {"prefixes": prefixes, "suffixes": dict.fromkeys(roles, suffix), "k_tokens": counts}


def special_ids(body: Backbone) -> list[int]:
    """Ids of every special token, sorted."""
    return sorted(number for number, token in body.tokenizer.get_added_tokens_decoder().items() if token.special)
