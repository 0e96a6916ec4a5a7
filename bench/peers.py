"""How m3eval and its peers encode the same texts with the same checkpoint; each function gives what to run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.material import LIMIT

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
ALL = ("dense", "sparse", "multi_vector")


def m3eval(
    path: Path, texts: Sequence[str], precision: str, wanted: Sequence[str], device: str, engine: str = "auto"
) -> Callable[[], np.ndarray]:
    """Ours: all texts in one call."""
    from m3eval.encoders import m3
    from m3eval.runtime import settle

    runtime = settle(device, precision, "auto", "auto", 20_000, 50_000, engine=engine)
    encoder = m3.load("m3", "M3", str(path), None, runtime)
    return lambda: encoder.encode(texts, "passage", wanted, LIMIT).dense


def flag_embedding(
    path: Path, texts: Sequence[str], precision: str, wanted: Sequence[str], device: str, batch_size: int
) -> Callable[[], np.ndarray]:
    """FlagEmbedding's BGEM3FlagModel."""
    from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(
        str(path), use_fp16=precision == "fp16", use_bf16=precision == "bf16", devices=device, batch_size=batch_size
    )
    modes = {
        "return_dense": "dense" in wanted,
        "return_sparse": "sparse" in wanted,
        "return_colbert_vecs": "multi_vector" in wanted,
    }
    texts = list(texts)
    return lambda: model.encode(texts, batch_size=batch_size, max_length=LIMIT, **modes)["dense_vecs"]


def sentence_transformers(
    path: Path, texts: Sequence[str], precision: str, device: str, batch_size: int
) -> Callable[[], np.ndarray]:
    """sentence-transformers, dense only: the model, its first state, normalised."""
    from sentence_transformers import SentenceTransformer, models

    options: dict[str, Any] = {} if precision == "fp32" else {"dtype": {"fp16": "float16", "bf16": "bfloat16"}[precision]}
    transformer = models.Transformer(str(path), max_seq_length=LIMIT, model_args=options)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="cls")
    model = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device=device)
    texts = list(texts)
    return lambda: model.encode(texts, batch_size=batch_size, show_progress_bar=False)
