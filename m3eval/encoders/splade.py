"""SPLADE: any masked language model whose scores weigh every term of the vocabulary.

How scores become weights: see `heads/splade.py`. Special tokens are tokens like others. Which kind
a checkpoint of sentence-transformers is, its files say. neural-cherche puts masks behind a text and
keeps as many terms as a text may have tokens; its metadata.json says so, and is followed. Its
padding, of queries with masks, changes nothing: it is hidden from the model, and its scores are set
to zero, which no weight is below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from m3eval.benchmarks.texts import Role
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.pretrained import Pretrained
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.heads.mlm import MaskedLM
from m3eval.encoders.heads.splade import SpladeTerms, TermPooling
from m3eval.encoders.ours import Encoder
from m3eval.encoders.splade_files import LOGARITHMS, K, Masks, framing, stated
from m3eval.errors import UserError
from m3eval.kinds import NotNegative
from m3eval.runtime import Runtime


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    pooling: TermPooling | Literal["auto"],
    k_tokens: dict[str, K],
    special_tokens: Literal["keep", "drop"],
    threshold: NotNegative,
    query_prefix: str,
    document_prefix: str,
    n_mask_tokens: Masks | Literal["auto"],
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder; its parts are read with the first text.

    Settings: see conf/encoder/splade.yaml.

    Raises:
        UserError: the checkpoint is out of reach, cannot be read or is computed in another way, or
            a setting has no meaning or contradicts it.
    """
    known = pooling in ("auto", "max", "sum") and special_tokens in ("keep", "drop")
    if not known or threshold < 0:
        raise UserError(
            f"encoder.pooling={pooling} must be auto, max or sum, "
            f"encoder.special_tokens={special_tokens} keep or drop, and "
            f"encoder.threshold={threshold} not below 0."
        )
    folder = locate(checkpoint, revision)
    own = stated(folder)
    if pooling not in ("auto", own.pooling or pooling):
        raise UserError(
            f"encoder.pooling={pooling}, but {folder} says pooling_strategy={own.pooling} in its "
            "SpladePooling: leave encoder.pooling=auto."
        )
    how = (own.pooling or "max") if pooling == "auto" else pooling
    lm, backbone = masked(folder, runtime)
    frame = framing(folder, k_tokens, query_prefix, document_prefix, n_mask_tokens, own)

    def terms(k: int | None) -> Heads:
        return Heads(
            sparse=SpladeTerms(
                lm,
                pooling=how,
                logarithms=LOGARITHMS[own.activation],
                k=k,
                threshold=threshold,
                dropped_ids=special_ids(backbone) if special_tokens == "drop" else [],
                vocabulary=backbone.shape.vocabulary,
            )
        )

    def heads() -> dict[Role, Heads]:
        return {role: terms(k) for role, k in frame.k_tokens.items()}

    return Encoder(
        name=name,
        label=label,
        identity={
            "family": "splade",
            "files": hashes(folder),
            "precision": runtime.precision,
            "pooling": how,
            "special_tokens": special_tokens,
            "threshold": threshold,
            **({} if own.activation == "relu" else {"activation": own.activation}),
            **frame.identity,
        },
        representations=["sparse"],
        backbone=backbone,
        make_heads=heads,
        prefixes=frame.prefixes,
        suffixes=frame.suffixes,
    )


def masked(folder: Path, runtime: Runtime) -> tuple[MaskedLM, Backbone]:
    """A masked language model's head, and the backbone whose states it reads.

    Raises:
        UserError: as `Pretrained` does.
    """
    lm = MaskedLM(folder, runtime.device)
    return lm, Backbone(Pretrained(folder), runtime, load=lm.load)


def special_ids(backbone: Backbone) -> list[int]:
    """Ids of every special token, sorted."""
    added = backbone.tokenization.tokenizer.get_added_tokens_decoder()
    return sorted(number for number, token in added.items() if token.special)
