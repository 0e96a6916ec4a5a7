"""Whether the packed engine gives what transformers' forward pass gives."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import torch

from bench import material
from bench.gpu.scene import ALL, Row, Scene, cosines
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.representations import Representations


def packed_and_transformers(scene: Scene) -> Iterator[Row]:
    """Cosines of each representation to that of transformers in fp32, on texts of mixed lengths.

    In half precision transformers' own distance stands beside ours.
    """
    longest = scene.length(8192)
    texts = [*material.documents(12 if scene.tiny else 64), *material.long_texts(2, longest)]
    request = Request(texts, "document", longest)
    half = scene.precision if scene.cuda else "bf16"

    def encode(precision: str, engine: str) -> Representations:
        result = scene.encoder(precision, engine).encode(request, Wanted(ALL, np.float32))
        gc.collect()  # the model's memory, before the next is loaded
        if scene.cuda:
            torch.cuda.empty_cache()
        return result

    exact = encode("fp32", "reference")
    for precision, engine in (("fp32", "packed"), (half, "packed"), (half, "reference")):
        made = encode(precision, engine)
        name = "m3eval, packed" if engine == "packed" else "transformers, padded"
        yield f"{name}, {precision}", distance(made, exact)


def distance(made: Representations, exact: Representations) -> dict[str, float]:
    """Cosines of dense and multi-vectors, and the largest difference of a lexical weight."""
    return {
        **{f"dense, {key}": value for key, value in cosines(made.dense, exact.dense).items()},
        **{
            f"multi_vector, {key}": value
            for key, value in cosines(
                np.concatenate([made.multi_vector[i] for i in range(len(made.dense))]),
                np.concatenate([exact.multi_vector[i] for i in range(len(exact.dense))]),
            ).items()
        },
        "sparse, largest_difference": float(abs(made.sparse - exact.sparse).max()),
    }
