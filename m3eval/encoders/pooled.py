"""Dense-only encoders by configuration: any transformer with CLS, mean or last-token pooling and prefixes."""

from __future__ import annotations

from m3eval.encoders.backbone import from_folder
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.heads import DenseHead, Pooling
from m3eval.runtime import Runtime


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    pooling: Pooling,
    normalize: bool,
    query_prefix: str,
    passage_prefix: str,
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder; the transformer itself is loaded with the first text.

    Raises:
        UserError: the checkpoint is out of reach or cannot be read.
    """
    folder = locate(checkpoint, revision)
    prefixes = {"query": query_prefix, "passage": passage_prefix}
    settings = {"pooling": pooling, "normalize": normalize, "prefixes": prefixes, "precision": runtime.precision}
    return Encoder(
        name,
        label,
        from_folder(folder, runtime),
        {"dense": DenseHead(pooling, normalize)},
        {"family": "pooled", "files": hashes(folder)} | settings,
        prefixes,
    )
