"""The forward pass in 8 bits: near fp32, the same for every neighbour and thread, and told."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from m3eval import runtime
from m3eval.benchmarks.demo import Demo
from m3eval.config import check, compose
from m3eval.encoders import e5_small_q4
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.engine import int8
from m3eval.encoders.engine.mixture import TopKLinear
from m3eval.encoders.engine.packed import PackedTransformer
from m3eval.encoders.m3 import load
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import words
from tests.encoders.engine.test_packed import ARCHITECTURES, LENGTHS, ids, model
from tests.needs import needs

pytestmark = needs("openvino")
GELU = [name for name in ARCHITECTURES if "relu" not in name]
TEXTS = [words(seed, 1 + seed * 7 % 60) for seed in range(60)]


def in_int8(name: str = "xlm-roberta") -> int8.Int8Transformer:
    return int8.Int8Transformer(PackedTransformer(model(ARCHITECTURES[name])), 2)


def settled(precision="int8", threads=1, **how):
    return settle("cpu", precision, threads, 1024, 100, 100, **how)


@torch.inference_mode()
@pytest.mark.parametrize("name", GELU)
def test_states_are_near_those_of_fp32(name):
    """A padding token inside a text, and texts of one length beside longer ones, among them."""
    exact = PackedTransformer(model(ARCHITECTURES[name]))(ids(), LENGTHS)
    found = in_int8(name)(ids(), LENGTHS)
    cosines = torch.cosine_similarity(exact, found, dim=-1)
    assert found.dtype == torch.float32 and found.shape == exact.shape
    assert cosines.mean() > 0.998 and cosines.min() > 0.99
    assert not torch.allclose(exact, found, rtol=0, atol=1e-3)  # it is not fp32 under another name


@torch.inference_mode()
@pytest.mark.parametrize(("width", "heads", "inner"), [(20, 5, 44), (48, 3, 100), (7, 1, 9)])
def test_widths_that_no_group_divides(width, heads, inner):
    shape = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner}
    config = ARCHITECTURES["xlm-roberta"].__class__(
        **ARCHITECTURES["xlm-roberta"].to_dict() | shape
    )
    exact, given = (PackedTransformer(model(config)) for _ in range(2))
    found = int8.Int8Transformer(given, 1)(ids(), LENGTHS)
    assert torch.cosine_similarity(exact(ids(), LENGTHS), found, dim=-1).min() > 0.99


@torch.inference_mode()
def test_neighbours_and_padding_do_not_change_a_text():
    """Up to what bf16 makes of sums in another order."""
    transformer, all_ids = in_int8(), ids()
    together = transformer(all_ids, LENGTHS).split(LENGTHS.tolist())
    for text, part in zip(np.split(all_ids, np.cumsum(LENGTHS)[:-1]), together, strict=True):
        alone = transformer(text, np.array([len(text)]))
        assert torch.cosine_similarity(alone, part, dim=-1).min() > 0.9995


@torch.inference_mode()
def test_batches_hold_every_token_once_and_stay_small(monkeypatch):
    monkeypatch.setattr(int8, "AT_ONCE", 100)
    parts = list(int8._batches(LENGTHS))
    assert [len(texts) for _, texts in parts] == [1, 3, 4]
    assert np.concatenate([texts for _, texts in parts]).tolist() == LENGTHS.tolist()
    ends = np.cumsum([texts.sum() for _, texts in parts])
    assert [(tokens.start, tokens.stop) for tokens, _ in parts] == [
        *zip([0, *ends[:-1]], ends, strict=True)
    ]
    assert len(list(int8._batches(np.array([700, 600])))) == 2  # a longer one goes alone


@torch.inference_mode()
def test_states_of_some_tokens_are_the_same():
    transformer, only = in_int8(), np.cumsum(LENGTHS) - LENGTHS
    assert torch.equal(
        transformer(ids(), LENGTHS, only), transformer(ids(), LENGTHS)[torch.from_numpy(only)]
    )


def encoded(folder, **how):
    encoder = load("m3", "M3", str(folder), None, settled(**how))
    wanted = Wanted(["dense", "sparse", "multi_vector"])
    return encoder.encode(Request(TEXTS, "document", 100), wanted)


def test_every_representation_is_near_and_threads_give_the_same_bytes(m3):
    exact = encoded(m3, precision="fp32")
    one, three = encoded(m3), encoded(m3, threads=3)
    for found in (one, three):
        assert (exact.dense * found.dense).sum(1).min() > 0.995  # both have length 1
        near = (exact.sparse != 0).multiply(found.sparse != 0).sum() / (exact.sparse != 0).sum()
        assert near > 0.95
    assert np.array_equal(one.dense, three.dense)
    assert (one.sparse != three.sparse).nnz == 0
    for i in range(len(TEXTS)):
        assert np.array_equal(one.multi_vector[i], three.multi_vector[i])
        assert (one.multi_vector[i] * exact.multi_vector[i]).sum(1).mean() > 0.99


def test_real_weights_keep_their_cosine():
    """What the setting is for: multilingual-e5-small on documents of the demo."""
    tasks = map(Demo([], "multilingual").task, ("en", "ko", "sw"))
    texts = [document.text for task in tasks for document in islice(task.corpus.read(), 20)]
    exact, found = (
        e5_small_q4.load("e5", "E5", True, "query: ", "passage: ", settled(precision))
        .encode(Request(texts, "document", 512), Wanted(["dense"]))
        .dense
        for precision in ("fp32", "int8")
    )
    cosines = (exact * found).sum(1)  # both have length 1
    assert cosines.mean() > 0.9997 and cosines.min() > 0.9994
    assert cosines.max() < 1 - 1e-5


def test_a_row_of_zeros_stays_zero_and_damaged_weights_are_no_numbers_in_8_bits():
    def with_row(value: float) -> PackedTransformer:
        made = model(ARCHITECTURES["bert"])
        made.encoder.layer[1].output.dense.weight.data[3] = value
        return PackedTransformer(made)

    with torch.inference_mode():
        exact = with_row(0)(ids(), LENGTHS)
        found = int8.Int8Transformer(with_row(0), 1)(ids(), LENGTHS)
    assert torch.cosine_similarity(exact, found, dim=-1).min() > 0.99
    for value in (torch.nan, torch.inf):
        with pytest.raises(UserError, match="not finite in fp32: its weights are damaged"):
            int8.Int8Transformer(with_row(value), 1)


def test_a_trial_finds_what_was_computed_wrong(monkeypatch):
    right = int8._Graph._product
    monkeypatch.setattr(
        int8._Graph,
        "_product",
        lambda self, states, weight, bias: right(self, states, weight.flip(0), bias),
    )
    with pytest.raises(UserError, match=r"OpenVINO 20\S+ computes something else .*cosine"):
        in_int8()


def test_other_layers_are_refused():
    with pytest.raises(UserError, match="for layers with GELU, and this checkpoint's have ReLU"):
        in_int8("bert, relu")
    mixture = PackedTransformer(model(ARCHITECTURES["xlm-roberta"]))
    mixture.layers[2].up.linear = TopKLinear(32, 64, 4, 2)
    for part in mixture.layers[2].up.linear.parameters():
        nn.init.normal_(part)
    with pytest.raises(UserError, match="for no mixture of experts"):
        int8.Int8Transformer(mixture, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"engine": "openvino", "precision": "bf16"}, "computes in int8, not in bf16"),
        ({"engine": "openvino", "precision": "fp32"}, "computes in int8, not in fp32"),
        ({"engine": "packed"}, "by runtime.engine=openvino, not by packed"),
        ({"engine": "reference"}, "by runtime.engine=openvino, not by reference"),
    ],
)
def test_what_does_not_go_together_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        settled(**words)


def test_either_word_means_both():
    for asked in (settled(), settled("auto", engine="openvino"), settled(engine="openvino")):
        assert (asked.engine, asked.precision) == ("openvino", "int8")


def test_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(
        UserError, match=r"for CPUs, and runtime.device is cuda: set runtime.device=c"
    ):
        settle("cuda", "int8", 1, 256, 100, 100)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs: pip install 'm3eval\[openvino\]'"):
        check(compose("runtime.precision=int8"))


def test_openvino_reports_nothing_to_its_maker(tmp_path):
    """Where continuous integration is not what it takes the machine for."""
    code = (
        "import sys; from m3eval.encoders.engine import int8; int8._openvino(); "
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]; "
        "import openvino_telemetry"  # whoever wants it has it still
    )
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=env | {"HOME": str(tmp_path)}, timeout=120
    )
    assert not [*tmp_path.rglob("*openvino*")]
