"""The packed forward pass against transformers' own, for every architecture it claims, and in every
precision.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.engine import attention, linear, packed, reference
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.linear import Activated, OneDNNLinear, for_cpu
from m3eval.encoders.engine.shape import Shape, supports
from m3eval.encoders.heads.dense import PooledVector
from m3eval.encoders.m3 import load
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import words

LENGTHS = np.array([64, 30, 30, 30, 17, 5, 5, 2])
SHAPE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
ARCHITECTURES = {
    "bert": transformers.BertConfig(**SHAPE, max_position_embeddings=64, type_vocab_size=2),
    "bert, relu": transformers.BertConfig(**SHAPE, max_position_embeddings=64, hidden_act="relu"),
    "roberta": transformers.RobertaConfig(**SHAPE, max_position_embeddings=66, pad_token_id=1),
    "xlm-roberta": transformers.XLMRobertaConfig(
        **SHAPE, max_position_embeddings=66, pad_token_id=1
    ),
    "camembert": transformers.CamembertConfig(**SHAPE, max_position_embeddings=66, pad_token_id=1),
}


def model(
    config: transformers.PretrainedConfig, dtype: torch.dtype = torch.float32
) -> torch.nn.Module:
    """Random weights, large enough for the layers to matter; the same at every call."""
    torch.manual_seed(0)
    made = transformers.AutoModel.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for name, values in made.named_parameters():
            values.normal_(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.2)
    return made.to(dtype).eval()


def ids(seed: int = 0) -> np.ndarray:
    """Token ids, a padding token inside a text among them."""
    found = np.random.default_rng(seed).integers(4, 99, LENGTHS.sum())
    found[70] = 1
    return found


@torch.inference_mode()
def states(wrap, config, dtype=torch.float32) -> torch.Tensor:
    return wrap(model(config, dtype))(ids(), LENGTHS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_equals_reference(name):
    config = ARCHITECTURES[name]
    assert supports(config)
    expected = states(reference.PaddedTransformer, config)
    assert expected.std() > 0.1
    torch.testing.assert_close(
        states(packed.PackedTransformer, config), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("wrap", [packed.PackedTransformer, reference.PaddedTransformer])
def test_states_of_some_tokens_are_the_same(wrap):
    config, only = ARCHITECTURES["xlm-roberta"], np.cumsum(LENGTHS) - LENGTHS
    with torch.inference_mode():
        every, some = wrap(model(config))(ids(), LENGTHS), wrap(model(config))(ids(), LENGTHS, only)
    torch.testing.assert_close(some, every[only], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "last", "mean"])
def test_dense_alone_equals_dense_with_the_others(m3, pooling):
    encoder = load("m3", "M3", str(m3), None, settle("cpu", "fp32", 1, 256, 100, 100))
    encoder.heads["document"].dense = PooledVector(pooling)
    texts = [words(seed, seed) for seed in range(1, 30)]
    alone, beside = (
        encoder.encode(Request(texts, "document", 100), Wanted(wanted)).dense
        for wanted in (["dense"], ["dense", "sparse"])
    )
    np.testing.assert_allclose(alone, beside, rtol=0, atol=1e-5)


def test_reference_equals_transformers_one_text_at_a_time():
    config = ARCHITECTURES["xlm-roberta"]
    found = states(reference.PaddedTransformer, config)
    with torch.inference_mode():
        for part, text in zip(
            found.split(LENGTHS.tolist()), np.split(ids(), np.cumsum(LENGTHS)[:-1]), strict=True
        ):
            alone = model(config)(input_ids=torch.from_numpy(text)[None]).last_hidden_state[0]
            torch.testing.assert_close(part, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype):
    config = ARCHITECTURES["xlm-roberta"]
    exact, found = (
        states(packed.PackedTransformer, config),
        states(packed.PackedTransformer, config, dtype).float(),
    )
    assert torch.cosine_similarity(exact, found, dim=-1).min() > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_computes_what_pytorch_does(dtype, bias):
    layers = torch.nn.Sequential(
        torch.nn.Linear(40, 24, bias, dtype=dtype),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 7, dtype=dtype),
    )
    inputs = torch.randn(2, 9, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        expected = layers(inputs)
        found = for_cpu(layers)(inputs)
    assert isinstance(layers[0], OneDNNLinear) and isinstance(layers[2], OneDNNLinear)
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name, fused", [("gelu", True), ("gelu_new", False), ("relu", False)])
def test_gelu_is_computed_within_the_product_and_other_functions_after_it(dtype, name, fused):
    layer = Activated(torch.nn.Linear(40, 24, dtype=dtype), transformers.activations.ACT2FN[name])
    inputs = torch.randn(9, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        expected = layer(inputs)
        replaced = for_cpu(layer)
        found = replaced(inputs)
    assert isinstance(replaced, OneDNNLinear) is fused
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-2
    )


def test_onednn_is_left_alone_where_it_does_not_work(monkeypatch):
    monkeypatch.setattr(linear, "_works", lambda dtype: False)
    layer = torch.nn.Linear(3, 3)
    assert for_cpu(layer) is layer
    monkeypatch.undo()
    half = torch.nn.Linear(3, 3, dtype=torch.float16)  # which oneDNN has for few processors
    assert for_cpu(half) is half


def test_architectures_that_are_not_ours_are_left_to_the_reference():
    assert not supports(transformers.DistilBertConfig())
    assert not supports(transformers.XLMRobertaConfig(is_decoder=True))
    assert not supports(transformers.BertConfig(position_embedding_type="relative_key"))


@pytest.mark.parametrize("rows, numbers", [(20, 1), (20, 3 * 20 * 30), (64, 10**6)])
def test_every_attention_agrees(monkeypatch, rows, numbers):
    """Products also in tiles: of some queries of a head, of some heads, and of all at once."""
    qkv = torch.randn(int(LENGTHS.sum()), 3, 4, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.cat(
        [
            torch.softmax(torch.einsum("qhd,khd->hqk", q, k) / 8**0.5, -1)
            .matmul(v.transpose(0, 1))
            .transpose(0, 1)
            for q, k, v in (part.unbind(1) for part in qkv.split(LENGTHS.tolist()))
        ]
    )
    monkeypatch.setattr(attention, "ROWS", rows)
    monkeypatch.setattr(attention, "NUMBERS", numbers)
    for implementation in (
        attention.equal_runs,
        attention.equal_runs_by_products,
        attention.padded,
    ):
        torch.testing.assert_close(
            implementation(LENGTHS, qkv.device)(qkv), expected, rtol=0, atol=1e-5
        )


def test_attention_is_chosen_by_trial(monkeypatch):
    def absent(lengths, device):
        raise ImportError("no such kernel here")

    def wrong(lengths, device):
        return lambda qkv: qkv[:, 0]

    monkeypatch.setitem(attention.CANDIDATES, "cpu", (absent, wrong, attention.padded))
    attention._fastest.cache_clear()
    try:
        assert attention._fastest("cpu", torch.float32, 2, 8) is attention.padded
    finally:
        attention._fastest.cache_clear()


@pytest.mark.parametrize("wanted", ["packed", "reference"])
def test_the_engine_is_the_one_asked_for_and_gives_the_same(m3, wanted):
    runtime = settle("cpu", "fp32", 1, 256, 100, 100, engine=wanted)
    texts = [words(seed, seed) for seed in range(1, 60)]
    encoder, other = (
        load("m3", "M3", str(m3), None, replace(runtime, engine=engine))
        for engine in (wanted, "auto")
    )
    assert encoder.backbone.engine == wanted and other.backbone.engine == "packed"
    both = ["dense", "sparse", "multi_vector"]
    ours, theirs = (
        which.encode(Request(texts, "document", 100), Wanted(both, np.float32))
        for which in (encoder, other)
    )
    np.testing.assert_allclose(ours.dense, theirs.dense, rtol=0, atol=1e-5)
    assert abs(ours.sparse - theirs.sparse).max() < 1e-5
    np.testing.assert_allclose(
        ours.multi_vector.vectors, theirs.multi_vector.vectors, rtol=0, atol=1e-5
    )


def test_packed_is_refused_where_it_does_not_compute_the_architecture():
    checkpoint = SimpleNamespace(shape=Shape.of(transformers.DistilBertConfig()))
    runtime = settle("cpu", "fp32", 1, 256, 100, 100, engine="packed")
    with pytest.raises(UserError, match="distilbert: choose engine=auto or reference"):
        _ = Backbone(checkpoint, runtime).engine
    runtime = replace(runtime, engine="openvino", asked_precision="int8")
    with pytest.raises(UserError, match="distilbert: leave runtime.engine and runtime.precision o"):
        _ = Backbone(checkpoint, runtime).engine
