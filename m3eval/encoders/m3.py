"""BGE-M3 and every checkpoint in its format: an XLM-R with a lexical and a multi-vector head.

The heads are ``sparse_linear.pt`` (weight [1, h], bias [1]) and ``colbert_linear.pt`` (weight
[d, h], bias [d]). As in the M3 paper (section 3.2) and FlagEmbedding: dense is the normalised CLS
state, unless the checkpoint states another pooling in ``1_Pooling/config.json``; prefixes stand in
``config_sentence_transformers.json``. Its config may say by ``m3_representations`` that it was
trained for some of the three only. Lexical weights are ReLU(linear), the largest per token id,
without CLS, EOS, padding and unknown. Multi-vectors are the normalised linear of every token but
CLS, EOS included.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from m3eval.benchmarks.texts import Role
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.engine.backbone import Backbone, Checkpoint, Hidden
from m3eval.encoders.engine.pretrained import Pretrained
from m3eval.encoders.heads.dense import PooledVector, Pooling
from m3eval.encoders.heads.head import Heads, read_linear, require_file
from m3eval.encoders.heads.mcls import Mcls, MeanOfCls
from m3eval.encoders.heads.multi_vector import TokenVectors
from m3eval.encoders.heads.sparse import TokenWeights
from m3eval.encoders.modules import require_dense
from m3eval.encoders.ours import Encoder, for_both
from m3eval.encoders.stated import stated_pooling, stated_prefixes
from m3eval.errors import UserError
from m3eval.kinds import Count
from m3eval.lazy import torch
from m3eval.manifests import Representation
from m3eval.runtime import Runtime

LEXICAL, MULTI_VECTOR = "sparse_linear.pt", "colbert_linear.pt"
FILES: dict[Representation, str] = {"sparse": LEXICAL, "multi_vector": MULTI_VECTOR}
ALL: list[Representation] = ["dense", "sparse", "multi_vector"]
MISSING = (
    f"An M3 checkpoint has its heads in {LEXICAL} and {MULTI_VECTOR}, and m3eval never makes one "
    "up: copy the file beside the weights, or use an encoder that is dense only (encoder=pooled)."
)


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    runtime: Runtime,
    mcls: Count | None = None,
) -> Encoder:
    """Builds the encoder; its parts are read with the first text.

    Args:
        name: of stores and results.
        label: what tables call it.
        checkpoint: hub id or folder.
        revision: on the hub.
        runtime: the machine.
        mcls: tokens between two CLS tokens, of which dense is the mean (`heads/mcls.py`); the
            encoder is then dense only. None: one CLS.

    Raises:
        UserError: the checkpoint is out of reach, or a head file is missing.
    """
    folder = locate(checkpoint, revision)
    pretrained = Pretrained(folder)
    identity = {"family": "m3", "precision": runtime.precision, "files": hashes(folder)}
    pooling, prefixes = stated_pooling(folder), stated_prefixes(folder)
    if mcls is not None:
        if pooling != "cls":
            raise UserError(f"encoder.mcls={mcls}: {folder} states pooling by {pooling}, not CLS.")
        return _with_several_cls(name, label, Backbone(pretrained, runtime), identity, mcls)
    names = trained_for(pretrained)
    for each in names:
        if each in FILES:
            require_file(folder / FILES[each], MISSING)
    require_dense(folder, pooling, True, prefixes, settings=False)
    if pooling != "cls":
        identity["pooling"] = pooling
    if any(prefixes.values()):
        identity["prefixes"] = prefixes
    return Encoder(
        name=name,
        label=label,
        identity=identity,
        representations=names,
        backbone=Backbone(pretrained, runtime),
        make_heads=lambda: for_both(read_heads(folder, pretrained, runtime, names, pooling)),
        prefixes=prefixes,
        why_no_other=f"{folder} was trained for these" if len(names) < len(ALL) else "",
    )


def trained_for(pretrained: Pretrained) -> list[Representation]:
    """The representations that a checkpoint says it was trained for; all where it says nothing.

    Raises:
        UserError: it names one that M3 does not have.
    """
    names = pretrained.entries.get("m3_representations", ALL)
    if not isinstance(names, list) or not {*map(str, names)} <= {*ALL}:
        raise UserError(
            f"{pretrained.folder / 'config.json'} says m3_representations={names!r}: choose among "
            f"{', '.join(ALL)}."
        )
    return [name for name in ALL if name in names]


def read_heads(
    folder: Path,
    checkpoint: Checkpoint,
    runtime: Runtime,
    names: Collection[Representation],
    pooling: Pooling,
) -> Heads:
    """The heads of some representations.

    Args:
        folder: has their files.
        checkpoint: whose states they read.
        runtime: the machine.
        names: which.
        pooling: of dense.

    Raises:
        UserError: a head file is missing, damaged, for states of another width, or gives another
            number of values.
    """
    from m3eval.encoders.engine.linear import for_cpu

    width = checkpoint.shape.width
    heads = Heads(dense=PooledVector(pooling) if "dense" in names else None)
    if "sparse" in names:
        lexical = read_linear(folder / LEXICAL, width, True, MISSING)
        if lexical.out_features != 1:
            raise UserError(
                f"{folder / LEXICAL} gives {lexical.out_features} numbers for a token, and must "
                f"give one weight. Was it exchanged with {MULTI_VECTOR}?"
            )

        def weigh(hidden: Hidden) -> torch.Tensor:
            linear = lexical.to(hidden.states.device)
            return torch.relu(linear(hidden.states.float()))[:, 0]  # [T, 1] -> [T]

        heads.sparse = TokenWeights(
            weigh,
            dropped_ids=set(checkpoint.special.values()),
            vocabulary=checkpoint.shape.vocabulary,
        )
    if "multi_vector" in names:
        projection = read_linear(folder / MULTI_VECTOR, width, True, MISSING)
        if projection.out_features == 1:
            raise UserError(
                f"{folder / MULTI_VECTOR} gives one number for a token, and must give a vector. "
                f"Was it exchanged with {LEXICAL}?"
            )
        heads.multi_vector = TokenVectors(
            for_cpu(projection) if runtime.device == "cpu" else projection,
            drop_eos=False,
            dimension=projection.out_features,
        )
    return heads


def _with_several_cls(
    name: str, label: str, backbone: Backbone, identity: dict[str, Any], interval: int
) -> Encoder:
    if interval < 1:
        raise UserError(
            f"encoder.mcls={interval}: at least one token must stand between two CLS tokens."
        )
    mcls = Mcls(interval)

    def heads() -> dict[Role, Heads]:
        return for_both(Heads(dense=MeanOfCls(mcls)))

    return Encoder(
        name=name,
        label=label,
        identity=identity | {"mcls": interval},
        representations=["dense"],
        backbone=backbone,
        make_heads=heads,
        mcls=mcls,
        why_no_other="MCLS is defined for dense only",
    )
