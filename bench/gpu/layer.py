"""A layer by torch.compile, and all layers of a single query as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from bench.gpu.scene import Row, Scene
from m3eval.encoders.engine.attention import Attention, attention

QUERY_LENGTHS = (16, 32, 64)  # tokens


def compiled(scene: Scene) -> Iterator[Row]:
    """One layer over a pack of 512-token texts: eager, compiled whole, and without its attention.

    `first_seconds` is what compiling took.
    """
    model = scene.encoder().backbone.model
    layer, (_, width, heads) = model.layers[0], scene.shape
    lengths = np.full(scene.budget // scene.length(512), scene.length(512))
    attend = attention(lengths, (heads, width // heads), torch.device(scene.device), scene.dtype)
    states = torch.randn(int(lengths.sum()), width, device=scene.device).to(scene.dtype)

    def after_attention(states: torch.Tensor) -> torch.Tensor:
        return layer.after(states, states)

    works: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "a layer": (layer, (states, attend, heads)),
        "what follows its attention": (after_attention, (states,)),
    }
    with torch.inference_mode():
        for name, (work, words) in works.items():
            yield f"{name}, eager", {"seconds": scene.seconds(lambda: work(*words))}  # noqa: B023
            faster = torch.compile(work, dynamic=True)
            first = scene.seconds(lambda: faster(*words), 1)["max"]  # noqa: B023
            difference = (faster(*words).float() - work(*words).float()).abs().max()
            seconds = scene.seconds(lambda: faster(*words))  # noqa: B023
            figures = {"seconds": seconds, "first_seconds": first}
            yield f"{name}, compiled", figures | {"largest_difference": float(difference)}


def graphs(scene: Scene) -> Iterator[Row]:
    """All layers over one query, eager and as a graph that is captured once and replayed."""
    model = scene.encoder().backbone.model
    _, width, heads = scene.shape
    for length in QUERY_LENGTHS:
        device = torch.device(scene.device)
        attend = attention(np.array([length]), (heads, width // heads), device, scene.dtype)
        states = torch.randn(length, width, device=device).to(scene.dtype)
        with torch.inference_mode():
            eager = scene.seconds(lambda: _through(model, states, attend, heads))  # noqa: B023
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = _through(model, states, attend, heads)
            graph.replay()
            difference = (result - _through(model, states, attend, heads)).abs().max()
            replayed = scene.seconds(graph.replay)
        figures = {"eager_seconds": eager, "graph_seconds": replayed}
        figures["times_as_fast"] = round(eager["median"] / replayed["median"], 2)
        yield f"a query of {length} tokens", figures | {"largest_difference": float(difference)}


def _through(model: Any, states: torch.Tensor, attend: Attention, heads: int) -> torch.Tensor:
    for layer in model.layers:
        states = layer(states, attend, heads)
    return states
