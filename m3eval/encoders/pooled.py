"""Dense-only encoders by configuration: any transformer with CLS, mean or last-token pooling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Prefixes
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.pretrained import Pretrained
from m3eval.encoders.heads.dense import PooledVector, Pooling
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.modules import require_dense
from m3eval.encoders.ours import Encoder, for_both
from m3eval.encoders.windows import from_settings
from m3eval.kinds import Count
from m3eval.runtime import Runtime


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    pooling: Pooling,
    normalize: bool,
    query_prefix: str,
    document_prefix: str,
    runtime: Runtime,
    query_checkpoint: str | None = None,
    query_revision: str | None = None,
    append_eos: bool = False,
    windows: Mapping[str, Count] | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """Builds the encoder; its parts are read with the first text.

    Settings: see conf/encoder/pooled.yaml.

    Raises:
        UserError: a checkpoint is out of reach, is not what it says, makes its vectors in another
            way than the settings say, or is a mixture of experts.
    """
    folder = locate(checkpoint, revision)
    query_folder = locate(query_checkpoint, query_revision) if query_checkpoint else None
    prefixes: Prefixes = {"query": query_prefix, "document": document_prefix}

    def backbone(place: Path, read: Prefixes) -> Backbone:
        pretrained = Pretrained(place, append_eos=append_eos, trust_remote_code=trust_remote_code)
        require_dense(place, pooling, normalize, read)
        return Backbone(pretrained, runtime)

    # Looked at before anything of them is hashed.
    if query_folder:
        of_queries = backbone(query_folder, {"query": query_prefix})
        of_documents = backbone(folder, {"document": document_prefix})
    else:
        of_queries, of_documents = None, backbone(folder, prefixes)
    return Encoder(
        name=name,
        label=label,
        identity={
            "family": "pooled",
            "files": hashes(folder),
            **({"query_files": hashes(query_folder)} if query_folder else {}),
            "pooling": pooling,
            "normalize": normalize,
            "prefixes": prefixes,
            # Null, as in stores that were made before there was a choice.
            "append_eos": append_eos or None,
            "windows": windows,
            "precision": runtime.precision,
        },
        representations=["dense"],
        backbone=of_documents,
        query_backbone=of_queries,
        make_heads=lambda: for_both(Heads(dense=PooledVector(pooling, normalize))),
        prefixes=prefixes,
        windows=from_settings(windows),
    )
