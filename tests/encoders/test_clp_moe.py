"""Mixtures of experts in XLM-R: the layer by hand, strict loading, and three stages beside the
plain twin.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from m3eval.encoders import clp_moe, m3, pooled
from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.encoders.engine.mixture import Gate, TopKLinear
from m3eval.encoders.engine.pretrained import Pretrained
from m3eval.errors import UserError
from m3eval.retrievers.run import read_run
from m3eval.runtime import settle
from tests.conftest import save_m3, words

TEXTS = [words(seed, 3 + 5 * seed) for seed in range(12)]
HEADS = ("sparse_linear.pt", "colbert_linear.pt")


def runtime(precision="fp32", engine="auto", token_budget=128):
    return settle("cpu", precision, 1, token_budget, 100, 100, engine=engine)


def save_mixture(plain, folder, part="intermediate", experts=2, per_token=1, copies=False):
    """The mixture of a plain M3 checkpoint as the paper's trainer writes it, experts moved apart by
    training.
    """
    shutil.copytree(plain, folder, ignore=shutil.ignore_patterns(*HEADS, "model.safetensors"))
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, values in load_file(plain / "model.safetensors").items():
        place, _, kind = name.rpartition(".")
        if not place.endswith(f".{part}.dense") or "attention" in name:
            state[name] = values
            continue
        for number in range(experts):
            noise = 0 if copies else 0.5 * torch.randn(values.shape, generator=generator)
            state[f"{place}.experts.{number}.{kind}"] = (values + noise).contiguous()
        if kind == "weight":
            state[f"{place}.gate.weight"] = torch.randn(
                experts, values.shape[1], generator=generator
            )
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "moe": part,
        "num_experts": experts,
        "num_experts_per_tok": per_token,
        "only_train": part,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def mixture(m3, tmp_path):
    return save_mixture(m3, tmp_path / "mixture")


def load(folder, **changes):
    return clp_moe.load("moe", "MoE", str(folder), None, runtime(**changes))


def dense(encoder):
    return encoder.encode(Request(TEXTS, "document", 100), Wanted(["dense"])).dense


def layer(experts=4, per_token=2):
    torch.manual_seed(0)
    made = TopKLinear(8, 5, experts, per_token)
    torch.nn.init.normal_(made.gate.weight)
    return made


@pytest.mark.parametrize("per_token", [1, 2, 4])
def test_layer_by_hand(per_token):
    mixture, states = layer(per_token=per_token), torch.randn(3, 7, 8)
    found = mixture(states)
    for i in range(3):
        for j in range(7):
            x = states[i, j].double()
            logits = [float(row.detach().double() @ x) for row in mixture.gate.weight]
            chosen = sorted(range(4), key=lambda e: -logits[e])[:per_token]
            total = sum(np.exp(logits[e]) for e in chosen)
            expected = sum(
                np.exp(logits[e])
                / total
                * (mixture.experts[e].weight.double() @ x + mixture.experts[e].bias.double())
                for e in chosen
            )
            torch.testing.assert_close(found[i, j].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("per_token", [1, 3])
def test_copies_are_the_plain_layer_whatever_the_gate(per_token):
    mixture, states = layer(per_token=per_token), torch.randn(50, 8)
    for expert in mixture.experts:
        expert.load_state_dict(mixture.experts[0].state_dict())
    plain = mixture.experts[0](states)
    if per_token == 1:
        assert torch.equal(mixture(states), plain)
    else:  # the weights' sum is 1 but for rounding
        torch.testing.assert_close(mixture(states), plain, rtol=0, atol=1e-6)


def test_one_expert_per_token_has_weight_one_and_teaches_the_gate_nothing():
    mixture, states = layer(per_token=1), torch.randn(50, 8)
    found = mixture(states)
    chosen = mixture.gate(states).argmax(-1)
    assert len(set(chosen.tolist())) == 4
    one_by_one = torch.stack(
        [mixture.experts[e](x[None])[0] for e, x in zip(chosen.tolist(), states, strict=True)]
    )
    torch.testing.assert_close(found, one_by_one, rtol=0, atol=1e-6)
    found.square().sum().backward()
    assert mixture.gate.weight.grad is None or not mixture.gate.weight.grad.any()
    assert mixture.experts[0].weight.grad.any()
    two = layer(per_token=2)
    two(states).square().sum().backward()
    assert two.gate.weight.grad.any()


@pytest.mark.parametrize("part", ["intermediate", "output"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_every_weight_is_loaded_and_gates_are_kept_to_the_bit(m3, tmp_path, part, precision):
    folder = save_mixture(m3, tmp_path / "mixture", part, experts=3, per_token=2)
    on_disk = load_file(folder / "model.safetensors")
    model = Pretrained(folder, clp_moe.architecture).load(
        getattr(torch, {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision])
    )
    state = model.state_dict()
    assert set(state) == set(on_disk)
    for name, values in on_disk.items():
        assert torch.equal(
            state[name], values if ".gate." in name else values.to(state[name].dtype)
        ), name
    model.save_pretrained(tmp_path / "again")
    assert set(load_file(tmp_path / "again" / "model.safetensors")) == set(on_disk)


def test_weights_in_several_files(mixture, tmp_path):
    whole = load(mixture).backbone.checkpoint.load(torch.float32)
    whole.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    for path in mixture.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 2
    np.testing.assert_allclose(
        dense(load(tmp_path / "sharded")), dense(load(mixture)), rtol=0, atol=1e-6
    )
    assert "model.safetensors.index.json" in load(tmp_path / "sharded").identity["files"]


@pytest.mark.parametrize(
    ("part", "per_token"), [("intermediate", 1), ("output", 1), ("intermediate", 2)]
)
def test_engines_agree(m3, tmp_path, part, per_token):
    folder = save_mixture(m3, tmp_path / "mixture", part, 3, per_token)
    packed, reference = (load(folder, engine=engine) for engine in ("packed", "reference"))
    assert packed.backbone.engine == "packed" and reference.backbone.engine == "reference"
    np.testing.assert_allclose(dense(packed), dense(reference), rtol=0, atol=1e-5)
    other = dense(load(save_mixture(m3, tmp_path / "other", part, 3, per_token, copies=True)))
    assert not np.allclose(dense(packed), other, atol=1e-2)


def test_bf16_sends_tokens_where_the_checkpoint_says(m3, tmp_path):
    folder = save_mixture(m3, tmp_path / "mixture")
    encoder = load(folder, precision="bf16")
    gates = [module for module in encoder.backbone.model.modules() if isinstance(module, Gate)]
    assert len(gates) == 2 and all(gate.weight.dtype == torch.float32 for gate in gates)
    on_disk = load_file(folder / "model.safetensors")
    for i, gate in enumerate(gates):
        assert torch.equal(
            gate.weight, on_disk[f"encoder.layer.{i}.intermediate.dense.gate.weight"]
        )
    assert np.median((dense(encoder) * dense(load(folder))).sum(1)) > 0.98


def test_a_lacking_and_a_superfluous_weight_are_named(mixture):
    path = mixture / "model.safetensors"
    state = load_file(path)
    gate = state.pop("encoder.layer.1.intermediate.dense.gate.weight")
    save_file(state, path, {"format": "pt"})
    with pytest.raises(
        UserError, match=r"lacks 1 weights.*layer\.1\.intermediate\.dense\.gate\.weight"
    ):
        dense(load(mixture))
    state["encoder.layer.1.intermediate.dense.gate.weight"] = gate
    state["encoder.layer.1.intermediate.dense.experts.2.bias"] = torch.zeros(64)
    save_file(state, path, {"format": "pt"})
    with pytest.raises(
        UserError,
        match=r"1 weights that a MixtureXLMRoberta of its config has no use for.*experts\.2\.bias",
    ):
        dense(load(mixture))


def test_a_mixture_is_never_taken_for_a_plain_model(mixture, m3):
    for name in HEADS:
        shutil.copy(m3 / name, mixture)
    with pytest.raises(
        UserError, match=r"is a mixture of experts .*intermediate.*choose encoder=clp_moe"
    ):
        m3_load(mixture)
    with pytest.raises(UserError, match="choose encoder=clp_moe"):
        pooled_load(mixture)
    config = json.loads((mixture / "config.json").read_text())
    (mixture / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if key != "moe"})
    )
    with pytest.raises(
        UserError, match=r"lacks 4 weights .*intermediate.dense"
    ):  # nor when its config does not say it
        pooled_load(mixture).encode(Request(["ba"], "query", 100), Wanted(["dense"]))


def m3_load(folder):
    return m3.load("m3", "M3", str(folder), None, runtime())


def pooled_load(folder):
    return pooled.load("p", "P", str(folder), None, "cls", True, "", "", runtime())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"moe": None}, r"moe=None.*no mixture of experts .*Choose encoder=bge_m3 or pooled"),
        ({"num_experts": None}, r"num_experts=None.*must be a number from 1"),
        (
            {"num_experts_per_tok": 3},
            r"num_experts_per_tok=3.*must be a number from 1 to the number of experts",
        ),
        ({"model_type": "bert"}, r"is a bert; encoder clp_moe is for XLM-R"),
    ],
)
def test_a_config_that_describes_no_mixture_is_refused(mixture, changes, message):
    config = json.loads((mixture / "config.json").read_text())
    (mixture / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=message):
        load(mixture)


def test_dense_only_and_why(mixture):
    with pytest.raises(
        UserError,
        match=r"has no sparse representation.*has no sparse_linear.pt or colbert_linear.pt",
    ):
        check_able(load(mixture), ["dense", "sparse"], 100)


def stages(pipeline, checkpoint, name, tmp_path):
    words = ["encoder=clp_moe", f"encoder.name={name}", f"encoder.checkpoint={checkpoint}"]
    if name == "plain":
        words = [
            "encoder=pooled",
            "encoder.name=plain",
            f"encoder.checkpoint={checkpoint}",
            "encoder.pooling=cls",
        ]
    protocol = [
        "experiment=clp_table",
        "benchmark.text.max_document_length=128",
        "benchmark.text.max_query_length=128",
    ]
    folder = pipeline(*protocol, *words, f"output_dir={tmp_path / 'outputs'}")
    scores = json.loads((folder / "scores" / "scores.json").read_text())
    assert list(scores["scores"]) == ["nDCG@5", "nDCG@10"] and "without titles" in scores["title"]
    return read_run(folder / "runs" / "dense" / "sw.trec")


def beside_its_twin(pipeline, plain, tmp_path):
    twin = stages(pipeline, plain, "plain", tmp_path)
    copies = stages(
        pipeline, save_mixture(plain, tmp_path / "copies", copies=True), "copies", tmp_path
    )
    tuned = stages(pipeline, save_mixture(plain, tmp_path / "tuned"), "tuned", tmp_path)
    for qid in twin:
        assert twin[qid].docids == copies[qid].docids
        np.testing.assert_allclose(twin[qid].scores, copies[qid].scores, rtol=0, atol=1e-6)
    assert any(twin[qid].docids != tuned[qid].docids for qid in twin)


def test_three_stages_beside_the_plain_twin(pipeline, m3, tmp_path):
    beside_its_twin(pipeline, m3, tmp_path)


@pytest.mark.slow
def test_three_stages_with_twelve_layers(pipeline, tmp_path):
    beside_its_twin(pipeline, save_m3(tmp_path / "deep", layers=12), tmp_path)
