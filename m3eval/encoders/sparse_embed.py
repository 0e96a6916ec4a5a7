"""SparseEmbed (Kong et al. 2023): the terms that SPLADE activates, each with a vector.

A term's vector is made of the text's token states. A text keeps the k terms of largest weight. The
scores of these terms at every position say how much of the state there goes into a term's vector,
which a linear layer and a ReLU make smaller. In the paper a softmax over the positions shares a
term out; in neural-cherche 1.x a softmax over the terms shares a position out. Its checkpoints have
the layer in linear.pt (weight [d, h]) and what stands around texts in metadata.json.
"""

from __future__ import annotations

from typing import Literal

from m3eval.benchmarks.texts import Role
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.heads.expansion import (
    AXES,
    AttentionOver,
    Expansion,
    ExpansionVectors,
    ExpansionWeights,
)
from m3eval.encoders.heads.head import Heads, read_linear, require_file
from m3eval.encoders.ours import Encoder
from m3eval.encoders.splade import masked
from m3eval.encoders.splade_files import K, Masks, framing
from m3eval.errors import UserError
from m3eval.runtime import Runtime

MISSING = (
    "A SparseEmbed checkpoint has its projection there; without one it is a SPLADE "
    "(encoder=splade)."
)


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    attention_over: AttentionOver,
    k_tokens: dict[str, K],
    inactive_terms: Literal["keep", "drop"],
    query_prefix: str,
    document_prefix: str,
    n_mask_tokens: Masks | Literal["auto"],
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder; its parts are read with the first text.

    Settings: see conf/encoder/sparse_embed.yaml.

    Raises:
        UserError: the checkpoint is out of reach or cannot be read, or a setting has no meaning.
    """
    if attention_over not in AXES or inactive_terms not in ("keep", "drop"):
        raise UserError(
            f"encoder.attention_over={attention_over} must be {' or '.join(AXES)}, and "
            f"encoder.inactive_terms={inactive_terms} keep or drop."
        )
    folder = locate(checkpoint, revision)
    path = folder / "linear.pt"
    lm, backbone = masked(folder, runtime)
    require_file(path, MISSING)
    frame = framing(folder, k_tokens, query_prefix, document_prefix, n_mask_tokens)
    counts: dict[Role, int] = {role: k for role, k in frame.k_tokens.items() if k is not None}
    if len(counts) < len(frame.k_tokens):
        raise UserError(
            f"{folder}: SparseEmbed keeps a number of terms per text: give encoder.k_tokens.query= "
            "and .document=."
        )

    def heads() -> dict[Role, Heads]:
        linear = read_linear(path, backbone.shape.width, False, MISSING)
        of_role: dict[Role, Heads] = {}
        for role, k in counts.items():
            expansion = Expansion(lm, linear, k, attention_over)
            of_role[role] = Heads(
                sparse=ExpansionWeights(expansion, backbone.shape.vocabulary),
                term_vectors=ExpansionVectors(expansion, inactive_terms == "drop"),
            )
        return of_role

    return Encoder(
        name=name,
        label=label,
        identity={
            "family": "sparse_embed",
            "files": hashes(folder),
            "precision": runtime.precision,
            "attention_over": attention_over,
            "inactive_terms": inactive_terms,
            **frame.identity,
        },
        representations=["sparse", "term_vectors"],
        backbone=backbone,
        make_heads=heads,
        prefixes=frame.prefixes,
        suffixes=frame.suffixes,
    )
