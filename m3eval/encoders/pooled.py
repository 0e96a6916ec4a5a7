"""Dense-only encoders by configuration: any transformer with CLS, mean or last-token pooling and prefixes."""

from __future__ import annotations

from collections.abc import Mapping

from m3eval.encoders.backbone import from_folder
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.heads import DenseHead, Pooling
from m3eval.encoders.windows import from_settings
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
    windows: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """Builds the encoder; the transformer itself is loaded with the first text. Settings: see conf/encoder/pooled.yaml.

    Raises:
        UserError: a checkpoint is out of reach or cannot be read.
    """
    folder = locate(checkpoint, revision)
    asks = locate(query_checkpoint, query_revision) if query_checkpoint else None
    prefixes = {"query": query_prefix, "document": document_prefix}
    settings = {
        "pooling": pooling,
        "normalize": normalize,
        "prefixes": prefixes,
        "append_eos": append_eos
        or None,  # null: as in stores that were made before there was a choice
        "windows": windows,
        "precision": runtime.precision,
    }
    files = {"files": hashes(folder)} | ({"query_files": hashes(asks)} if asks else {})
    arguments = {"append_eos": append_eos, "trust_remote_code": trust_remote_code}
    return Encoder(
        name,
        label,
        from_folder(folder, runtime, **arguments),
        {"dense": DenseHead(pooling, normalize)},
        {"family": "pooled"} | files | settings,
        prefixes,
        query_backbone=from_folder(asks, runtime, **arguments) if asks else None,
        windows=from_settings(windows),
    )
