"""What `m3eval plan` foresees, against what was then taken, and against what is published."""

from __future__ import annotations

import functools
import re

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from m3eval.commands.plan import Machine
from m3eval.config import Setup, compose
from m3eval.encoders import m3
from m3eval.encoders.encoder import Price
from m3eval.errors import UserError
from m3eval.reference.planning import MODELS, ModelSizes
from m3eval.stages import planning
from m3eval.stores.store import Store
from tests.conftest import words

N = 400
GROWING = [(f"d{i}", words(i, 3 + 90 * i // N)) for i in range(N)]


def plan_of(*more: str) -> planning.Plan:
    """The plan of published counts."""
    return planning.plan(Setup(compose("encoder=bge_m3", *more, config="plan")), True)


@pytest.mark.parametrize("tokens", [16, 200])
def test_operations_are_those_of_the_matrix_products(tokens):
    """Against torch's own counter, which looks at each product as it is computed."""
    config = transformers.XLMRobertaConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=160,
        max_position_embeddings=256,
        type_vocab_size=1,
    )
    config._attn_implementation = "eager"
    model = transformers.XLMRobertaModel(config, add_pooling_layer=False).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.randint(3, 100, (1, tokens)))
    sizes = ModelSizes(3, 64, 160, 100)
    assert counter.get_total_flops() / tokens == pytest.approx(sizes.flops(tokens), rel=1e-6)
    weights = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2)
    positions = 256 + 1  # and the one type; plans leave them out
    assert sizes.weights == weights - positions * 64


def test_published_counts_are_the_benchmarks():
    plan = plan_of("benchmark=miracl")
    of_role = {"document": 0, "query": 0}
    for each in plan.sets.values():
        of_role[each.role] += each.count
    assert of_role == {"document": 106_332_152, "query": 13_495}
    assert sum(each.lines for each in plan.searches) == 13_495 * 1000
    dense = plan_of("benchmark=miracl", "representations=[dense]", "languages=[en]")
    assert dense.sets["corpus-en"].bytes == 2048
    assert dense.sets["corpus-en"].cpu_seconds is None


def test_multi_vectors_are_encoded_again_only_where_no_store_has_them():
    plan = plan_of("benchmark=miracl", "languages=[yo]", "store.multi_vector.limit_gb=1000")
    assert "multi_vector" in plan.sets["corpus-yo"].stored and plan.reranked(200) == 0
    plan = plan_of("benchmark=miracl", "languages=[yo]", "store.multi_vector.limit_gb=0")
    documents = plan.sets["corpus-yo"]
    assert "multi_vector" not in documents.stored
    assert plan.reranked(200) == 119 * 200 * documents.tokens
    assert plan.reranked(10**6) == documents.all_tokens  # each document once


@pytest.fixture
def growing(pipeline, corpus_of, capsys):
    """Runs a command on documents that grow; gives what it printed and the folder."""
    root = corpus_of({"xx": GROWING}, {"xx": [("q0", words(1, 3))]})

    def run(*more: str):
        capsys.readouterr()
        own = ["benchmark=folder", "benchmark.name=growing", f"benchmark.root={root}"]
        folder = pipeline(*own, "languages=[xx]", "retriever=[dense]", *more)
        return " ".join(capsys.readouterr().out.split()), folder

    return run


def test_tokens_and_bytes_are_what_stage_0_then_takes(growing):
    said, folder = growing("plan")
    assert not (folder / "stores").exists()
    growing("embed")
    stores = [Store(path) for path in sorted((folder / "stores").glob("*-xx"))]
    tokens = sum(store.manifest.totals.tokens for store in stores)
    taken = sum(sum(store.manifest.bytes.values()) for store in stores)
    told = int(re.search(r"embed: 401 texts, ([\d,]+) tokens", said)[1].replace(",", ""))
    assert told == pytest.approx(tokens, rel=0.03)
    value, unit = re.search(r"([\d.]+) (kB|MB) of stores", said).groups()
    assert float(value) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(taken, rel=0.05)
    assert re.search(r"[\d,]+ CPU seconds on this machine, [\d,]+ of them before the", said)


def test_a_service_is_asked_nothing(growing, monkeypatch):
    """It would have to be paid; what it would take is said."""
    load = m3.load

    @functools.wraps(load)
    def paid(**settings):
        encoder = load(**settings)
        encoder.price = Price(1000.0, "made up", limit=0.0, confirmed=False)
        encoder.encode = None
        return encoder

    monkeypatch.setattr(m3, "load", paid)
    said, _ = growing("plan")
    tokens = int(re.search(r"401 texts, ([\d,]+) tokens", said)[1].replace(",", ""))
    assert f"about ${tokens / 1000:,.2f} to a service" in said
    assert "CPU seconds" not in said and " here on " not in said


def test_a_measured_rate_decides_the_hours(growing):
    said, _ = growing("plan", "devices=4xT4", "tokens_per_second=1", "price=3600")
    tokens = int(re.search(r"401 texts, ([\d,]+) tokens", said)[1].replace(",", ""))
    hours = float(re.search(r"([\d.]+) h on 4 x T4, as measured by you", said)[1])
    assert hours * 3600 == pytest.approx(tokens / 4, rel=0.02)
    assert float(re.search(r"cost ([\d,.]+) at", said)[1].replace(",", "")) == pytest.approx(
        tokens / 4, rel=0.01
    )


@pytest.mark.parametrize("word", ["8xZ9", "0xH100", "H-100", "-1xH100"])
def test_an_unknown_device_is_refused(word):
    with pytest.raises(UserError, match=f"devices={word}: takes a number of devices and their"):
        Machine.read(word)
    assert Machine.read("h100") == Machine(1, "H100", 989e12)


def test_what_is_not_published_is_not_made_up():
    with pytest.raises(UserError, match=r"Of mldr no lengths of texts are known"):
        plan_of("benchmark=mldr")
    with pytest.raises(UserError, match=r"sizes of mine are not known .* BAAI/bge-m3"):
        plan_of("benchmark=miracl", "encoder.checkpoint=mine")
    assert "BAAI/bge-m3" in MODELS
