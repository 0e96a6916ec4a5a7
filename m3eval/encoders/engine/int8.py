"""The layers of `packed.py` in 8 bits, on a CPU, by OpenVINO.

Each row of a weight has a scale. Where a product reads a token's numbers, each `GROUP` of them has
a scale, too. So nothing is calibrated, and a text's vectors do not depend on other texts. All else
is computed in bf16 where the CPU has it, in fp32 elsewhere; so are the values of the attention,
whose rounding would double the error (docs/log.md has what else was tried).
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from m3eval.encoders.engine.attention import equal_runs
from m3eval.encoders.engine.linear import is_gelu
from m3eval.encoders.engine.packed import Layer, PackedTransformer
from m3eval.errors import UserError
from m3eval.runtime import cpu_has_bf16

GROUP = 128  # numbers of a token with one scale; fewer where a width is no multiple of it
AT_ONCE = 512  # tokens, padding included: what stays in the cache
LEAST = 0.9  # mean cosine to fp32 of a trial's states, below which something else was computed
TRIAL = np.array([17, 6, 1])  # tokens of its texts


class Int8Transformer(nn.Module):
    """Takes the layers out of a `PackedTransformer` in fp32; what reads token ids stays in it.

    Texts are padded to the longest of a few. Each thread that calls computes on one core.
    """

    attention = "OpenVINO's"

    def __init__(self, packed: PackedTransformer, threads: int) -> None:
        """Compiles the layers.

        Args:
            packed: in fp32, on the CPU; without layers afterwards.
            threads: that will call `forward` at the same time, at most.

        Raises:
            UserError: a layer is not made of linear maps and GELU, or OpenVINO computes something
                else on this machine.
        """
        super().__init__()
        self.packed = packed
        ids = np.arange(TRIAL.sum()) % len(packed.words.weight)
        with torch.inference_mode():
            expected = states = packed.embedded(ids, TRIAL)
            graph = _Graph(packed.heads, packed.width)
            attend = equal_runs(TRIAL, states.device)
            while len(packed.layers):  # of each the memory is free before the next is in 8 bits
                layer = packed.layers.pop(0)
                assert isinstance(layer, Layer)
                expected = layer(expected, attend, packed.heads)
                graph.add(layer)
            self.compiled = graph.compiled(threads)
            self.of_thread = threading.local()
            found = self._layers(states, TRIAL)
        if not expected.isfinite().all():
            raise UserError(
                "This checkpoint's states are not finite in fp32: its weights are damaged."
            )
        if not (cosine := torch.cosine_similarity(found, expected).mean()) >= LEAST:
            raise UserError(
                f"OpenVINO {_openvino().__version__} computes something else than this model on "
                f"this machine (cosine {cosine:.3f} to fp32, at least {LEAST} is due): leave "
                "runtime.engine and runtime.precision out."
            )

    def forward(
        self, ids: np.ndarray, lengths: np.ndarray, only: np.ndarray | None = None
    ) -> torch.Tensor:
        """Last hidden states of B texts, in float32: see `PackedTransformer.forward`."""
        states = self._layers(self.packed.embedded(ids, lengths), lengths)
        return states if only is None else states[torch.from_numpy(only)]

    def _layers(self, embedded: torch.Tensor, lengths: np.ndarray) -> torch.Tensor:
        """[T, h] from [T, h], by batches."""
        if not hasattr(self.of_thread, "request"):
            self.of_thread.request = self.compiled.create_infer_request()
        infer = self.of_thread.request.infer
        states = embedded.numpy()
        result = np.empty_like(states)
        for tokens, texts in _batches(lengths):
            real = np.arange(texts.max()) < texts[:, None]  # [B, longest]
            padded = np.zeros((*real.shape, states.shape[1]), np.float32)
            padded[real] = states[tokens]
            mask = np.where(real, np.float32(0), np.float32(-1e4))[:, None, None]
            (found,) = infer([padded, mask], share_inputs=True, share_outputs=True).values()
            result[tokens] = found[real]
        return torch.from_numpy(result)


def _batches(lengths: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The tokens and lengths of texts that are computed together; longest text first."""
    start = token = 0
    while start < len(lengths):
        texts = lengths[start : start + max(1, AT_ONCE // int(lengths[start]))]
        tokens = slice(token, token + int(texts.sum()))
        yield tokens, texts
        start, token = start + len(texts), tokens.stop


class _Graph:
    """What OpenVINO compiles: layer after layer, over padded texts [B, longest, h]."""

    def __init__(self, heads: int, width: int) -> None:
        self.op = _openvino().opset13
        self.heads, self.width = heads, width  # of a head
        self.inputs = [
            self.op.parameter([-1, -1, heads * width], np.float32),
            self.op.parameter([-1, 1, 1, -1], np.float32),  # what is added to scores
        ]
        self.states = self.inputs[0]
        self.group = GROUP

    def add(self, layer: Layer) -> None:
        """Adds a layer, whose weights are overwritten.

        Raises:
            UserError: it has other parts than those of a plain BERT.
        """
        op, up = self.op, layer.up
        if not (isinstance(up.linear, nn.Linear) and isinstance(layer.down, nn.Linear)):
            raise UserError("runtime.precision=int8 is for no mixture of experts: leave it out.")
        if not is_gelu(up.activation):
            raise UserError(
                "runtime.precision=int8 is for layers with GELU, and this checkpoint's have "
                f"{type(up.activation).__name__}: leave it out."
            )
        h = self.heads * self.width
        weight, bias = layer.qkv.weight.detach(), layer.qkv.bias.detach()
        values = self._by_head(self._exact(self.states, weight[2 * h :], bias[2 * h :]))
        both = self._by_head(self._product(self.states, weight[: 2 * h], bias[: 2 * h]), 2)
        queries, keys = op.split(both, op.constant(1), 2).outputs()
        seen = op.scaled_dot_product_attention(queries, keys, values, self.inputs[1])
        seen = self._reshaped(self._swapped(seen), [0, 0, h])
        states = op.add(self._linear(seen, layer.mix), self.states)
        states = self._norm(states, layer.mix_norm)
        inner = op.gelu(self._linear(states, up.linear), "ERF")
        self.states = self._norm(op.add(self._linear(inner, layer.down), states), layer.down_norm)

    def compiled(self, threads: int) -> Any:
        """The graph for calls of so many threads."""
        openvino = _openvino()
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if cpu_has_bf16() else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": self.group,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # other processes would pin to the same cores
        }
        model = openvino.Model([self.states], self.inputs)
        return openvino.Core().compile_model(model, "CPU", settings)

    def _linear(self, states: Any, linear: nn.Module) -> Any:
        assert isinstance(linear, nn.Linear)
        return self._product(states, linear.weight.detach(), linear.bias.detach())

    def _product(self, states: Any, weight: torch.Tensor, bias: torch.Tensor) -> Any:
        """In 8 bits: [B, length, out] from [B, length, in]."""
        op, self.group = self.op, math.gcd(self.group, weight.shape[1])
        low, high = weight.aminmax(dim=1, keepdim=True)
        scales = torch.maximum(-low, high).clamp_min(1e-30) / 127  # [out, 1]
        # In place: malloc would keep the memory of matrices in between.
        codes = op.constant(weight.div_(scales).round_().to(torch.int8).numpy())
        rows = op.multiply(op.convert(codes, "f32"), op.constant(scales.numpy()))
        return self._biased(op.matmul(states, rows, transpose_a=False, transpose_b=True), bias)

    def _exact(self, states: Any, weight: torch.Tensor, bias: torch.Tensor) -> Any:
        """The same without 8 bits."""
        rows = self._constant(weight)
        product = self.op.matmul(states, rows, transpose_a=False, transpose_b=True)
        return self._biased(product, bias)

    def _biased(self, product: Any, bias: torch.Tensor) -> Any:
        return self.op.add(product, self._constant(bias))

    def _norm(self, states: Any, norm: Any) -> Any:
        op = self.op
        scaled = op.mvn(states, op.constant([-1]), True, norm.eps, "INSIDE_SQRT")
        scaled = op.multiply(scaled, self._constant(norm.weight))
        return op.add(scaled, self._constant(norm.bias))

    def _by_head(self, states: Any, times: int = 1) -> Any:
        """[B, times * heads, length, width] from [B, length, times * heads * width]."""
        return self._swapped(self._reshaped(states, [0, 0, times * self.heads, self.width]))

    def _swapped(self, states: Any) -> Any:
        return self.op.transpose(states, self.op.constant([0, 2, 1, 3]))

    def _reshaped(self, states: Any, shape: list[int]) -> Any:
        return self.op.reshape(states, self.op.constant(shape), special_zero=True)

    def _constant(self, weights: torch.Tensor) -> Any:
        return self.op.constant(weights.detach().numpy())


@lru_cache
def _openvino() -> Any:
    """The library, which tells its maker nothing.

    At its import it would report the use to a service on the net, if its package for that can be
    imported. Without it nothing else is different.
    """
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment] - Python's way to say: not to be had
    try:
        import openvino
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
    return openvino
