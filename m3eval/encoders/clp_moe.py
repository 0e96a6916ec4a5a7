"""BGE-M3 with mixtures of experts, fine-tuned with a contrastive learning penalty. Dense only.

CLP is arXiv 2412.17364. In every layer one linear map, ``intermediate.dense`` or ``output.dense``,
is replaced by several of the same shape and a gate that sends each token to some of them. The
checkpoint's config says which map, how many there are and how many a token gets (``moe``,
``num_experts``, ``num_experts_per_tok``); no setting repeats it. With one expert per token the gate
has no gradient, so it is as random as it was drawn: without the checkpoint's own it is another
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.pretrained import MIXTURES, Pretrained
from m3eval.encoders.heads.dense import PooledVector
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.m3 import LEXICAL, MULTI_VECTOR
from m3eval.encoders.modules import require_dense
from m3eval.encoders.ours import Encoder, for_both
from m3eval.encoders.stated import stated_pooling, stated_prefixes
from m3eval.errors import UserError
from m3eval.runtime import Runtime


def load(name: str, label: str, checkpoint: str, revision: str | None, runtime: Runtime) -> Encoder:
    """Builds the encoder; its parts are read with the first text.

    Raises:
        UserError: the checkpoint is out of reach, or its config describes no mixture of experts in
            an XLM-R.
    """
    folder = locate(checkpoint, revision)
    pretrained = Pretrained(folder, architecture=architecture)
    check_config(pretrained.entries, folder)
    pooling, prefixes = stated_pooling(folder), stated_prefixes(folder)
    require_dense(folder, pooling, True, prefixes, settings=False)
    identity = {"family": "clp_moe", "precision": runtime.precision, "files": hashes(folder)}
    if pooling != "cls":
        identity["pooling"] = pooling
    if any(prefixes.values()):
        identity["prefixes"] = prefixes
    return Encoder(
        name=name,
        label=label,
        identity=identity,
        representations=["dense"],
        backbone=Backbone(pretrained, runtime),
        make_heads=lambda: for_both(Heads(dense=PooledVector(pooling))),
        prefixes=prefixes,
        why_no_other=_why_dense_only(folder),
    )


def architecture() -> type:
    """The class that a checkpoint's weights are of."""
    from m3eval.encoders.engine.mixture import MixtureXLMRoberta

    return MixtureXLMRoberta


def check_config(entries: Mapping[str, Any], folder: Path) -> None:
    """Refuses a config that describes no mixture of experts that `engine/mixture.py` computes.

    Args:
        entries: of config.json.
        folder: of the checkpoint.

    Raises:
        UserError: says what the config says, and what it must say.
    """
    model_type = entries.get("model_type")
    keys = ("moe", "num_experts", "num_experts_per_tok")
    part, experts, per_token = (entries.get(key) for key in keys)
    said = f"{folder / 'config.json'} says " + ", ".join(
        f"{key}={entries.get(key)!r}" for key in keys
    )
    if model_type != "xlm-roberta":
        raise UserError(
            f"{folder} is a {model_type}; encoder clp_moe is for XLM-R: choose encoder=pooled."
        )
    if part not in MIXTURES:
        raise UserError(
            f"{said}: no mixture of experts (moe must be {' or '.join(MIXTURES)}). Choose "
            "encoder=bge_m3 or pooled."
        )
    if not (isinstance(experts, int) and isinstance(per_token, int) and 1 <= per_token <= experts):
        raise UserError(
            f"{said}: the experts of a token must be a number from 1 to the number of experts."
        )


def _why_dense_only(folder: Path) -> str:
    lacking = [file for file in (LEXICAL, MULTI_VECTOR) if not (folder / file).exists()]
    if lacking:
        return f"{folder} has no {' or '.join(lacking)}: CLP trains the dense representation only."
    return (
        "CLP trains the dense representation only, so the heads beside its weights are not its own."
    )
