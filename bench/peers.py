"""How m3eval and its peers encode the same texts with the same checkpoint.

Each function gives what to run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.flagembedding import flagembedding
from bench.material import LIMIT
from bench.pairs import Run

WARM_UP = 32  # texts
SHARD = 1000  # texts of which one list is tokenised while the one before is computed


def m3eval(
    path: Path,
    texts: Sequence[str],
    precision: str,
    wanted: Sequence[str],
    device: str,
    limit: int = LIMIT,
    alone: bool = False,
) -> Run:
    """Ours: all texts as stage 0 gives them, by shards, or (`alone`) each in a call of its own.

    A run may be of other texts, or want other representations.
    """
    from m3eval.encoders import m3
    from m3eval.encoders.encoder import Request, Wanted
    from m3eval.runtime import settle

    encoder = m3.load(
        "m3", "M3", str(path), None, settle(device, precision, "auto", "auto", 20_000, 50_000)
    )

    def run(warm: bool, wanted: Sequence[str] = wanted, texts: Sequence[str] = texts) -> np.ndarray:
        some = texts[:WARM_UP] if warm else texts
        if alone:
            return np.concatenate(
                [
                    encoder.encode(Request([text], "query", limit), Wanted(wanted)).dense
                    for text in some
                ]
            )
        shards = (
            Request(some[start : start + SHARD], "document", limit)
            for start in range(0, len(some), SHARD)
        )
        return np.concatenate([each.dense for each in encoder.stream(shards, Wanted(wanted))])

    return run


def flag_embedding(
    path: Path,
    texts: Sequence[str],
    precision: str,
    wanted: Sequence[str],
    device: str,
    batch_size: int,
    limit: int = LIMIT,
    alone: bool = False,
) -> Run:
    """FlagEmbedding's BGEM3FlagModel, without the bars it draws for every call.

    A run may be of other texts, want other representations, or have another batch size.
    """
    model = flag_model(path, precision, device, batch_size)

    def run(
        warm: bool,
        wanted: Sequence[str] = wanted,
        texts: Sequence[str] = texts,
        batch_size: int = batch_size,
    ) -> np.ndarray:
        options = {
            "return_dense": "dense" in wanted,
            "return_sparse": "sparse" in wanted,
            "return_colbert_vecs": "multi_vector" in wanted,
            "batch_size": batch_size,
            "max_length": limit,
        }
        some = list(texts[:WARM_UP] if warm else texts)
        if alone:
            return np.stack([model.encode(text, **options)["dense_vecs"] for text in some])
        return model.encode(some, **options)["dense_vecs"]

    return run


def flag_model(path: Path, precision: str, device: str, batch_size: int) -> Any:
    """BGEM3FlagModel in a precision."""
    _quiet()
    flagembedding()
    from FlagEmbedding.inference.embedder.encoder_only import m3

    m3.tqdm = lambda items, **_: items
    m3.trange = lambda *bounds, **_: range(*bounds)
    half = {"use_fp16": precision == "fp16", "use_bf16": precision == "bf16"}
    return m3.M3Embedder(str(path), devices=device, batch_size=batch_size, **half)


def sentence_transformers(
    path: Path, texts: Sequence[str], precision: str, device: str, batch_size: int
) -> Run:
    """sentence-transformers, dense only: the model, its first state, normalised."""
    _quiet()
    from sentence_transformers import SentenceTransformer, models

    options: dict[str, Any] = (
        {} if precision == "fp32" else {"dtype": {"fp16": "float16", "bf16": "bfloat16"}[precision]}
    )
    transformer = models.Transformer(str(path), max_seq_length=LIMIT, model_kwargs=options)
    pooling = models.Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    model = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device=device)
    texts = list(texts)
    return lambda warm: model.encode(
        texts[:WARM_UP] if warm else texts, batch_size=batch_size, show_progress_bar=False
    )


def _quiet() -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
