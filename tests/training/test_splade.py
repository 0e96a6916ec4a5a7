"""SPLADE: what learns computes what is evaluated; its loss; checkpoints that others read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from m3eval.encoders import splade as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.splade_files import Stated, state_splade
from m3eval.errors import UserError
from m3eval.runtime import settle
from m3eval.training import models_mlm
from m3eval.training.losses.flops import Flops
from m3eval.training.models import Trained
from m3eval.training.objectives.objective import Step
from m3eval.training.objectives.splade import SpladeObjective
from m3eval.training.start import opened
from tests.conftest import save_m3, words
from tests.encoders.checkpoints import CONFIGS, METADATA, neural_cherche, save_mlm
from tests.needs import needs
from tests.training.small import close, collation, drawn, gradients, run_training, write_examples

TEXTS = [words(1, 12), "ba", words(2, 60), "ba ba ba be", words(3, 40)]
ROLES = ("query", "document")
AUTO = {"query": "auto", "document": "auto"}
PROMPTS = {"query": "ba: ", "document": "do "}
NONE = Flops("none")


def load(folder):
    runtime = settle("cpu", "fp32", 1, 256, 100, 100)
    frame = ("auto", AUTO, "keep", 0.0, "auto", "auto", "auto")
    return family.load("x", "x", str(folder), None, *frame, runtime)


def evaluated(folder, role, texts=TEXTS, length=100):
    request = Request(texts, role, length)
    return load(folder).encode(request, Wanted(["sparse"])).sparse.toarray()


def model_of(folder, objective=None):
    return (objective or SpladeObjective(NONE)).model(opened(str(folder), None)).eval()


def side_of(folder, role, texts=TEXTS, length=100):
    collate = replace(collation(folder), max_lengths=dict.fromkeys(ROLES, length))
    return collate.side(texts, role)


def as_sentence_transformers(folder, **changes):
    """A masked language model with what sentence-transformers says beside it."""
    save_mlm(folder)
    state_splade(folder, Stated(**changes), PROMPTS)
    return folder


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_weights_are_the_packed_engines(tmp_path, kind):
    folder = save_mlm(tmp_path / kind, kind)
    with torch.no_grad():
        found = model_of(folder)(side_of(folder, "document"))["weights"]
    expected = evaluated(folder, "document")
    assert (expected > 0).mean() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "said", [{"pooling": "sum"}, {"activation": "log1p_relu"}, {"max_active_dims": 9}]
)
def test_pooling_activation_terms_and_prefixes_are_the_checkpoints(tmp_path, said):
    folder = as_sentence_transformers(tmp_path / "st", **said)
    model = model_of(folder)
    for role in ROLES:
        with torch.no_grad():
            found = model(side_of(folder, role))["weights"]
        np.testing.assert_allclose(found, evaluated(folder, role), rtol=1e-5, atol=1e-5)
    plain = save_mlm(tmp_path / "plain")
    assert not np.allclose(found, evaluated(plain, "document"), atol=1e-2)


@needs("neural_cherche")
def test_masks_and_terms_of_neural_cherche(tmp_path):
    folder = save_mlm(tmp_path / "bert", metadata=METADATA)
    theirs, model = neural_cherche("Splade", folder), model_of(folder)
    for role, length in (("query", 12), ("document", 30)):
        expected = theirs.encode(TEXTS, query_mode=role == "query")["sparse_activations"]
        with torch.no_grad():
            found = model(side_of(folder, role, length=length))["weights"]
        assert ((found > 0).sum(1) <= length).all()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("numbers", [1, 4000, 10**9])
def test_few_scores_at_once_and_the_gradients_of_all(tmp_path, pooling, numbers, monkeypatch):
    """1: one token of each text, one pair of text and term at a time; 4000: four, and 125."""
    folder = as_sentence_transformers(tmp_path / "st", pooling=pooling)
    side = side_of(folder, "document", TEXTS[:2] if numbers == 1 else TEXTS)
    model = model_of(folder)
    states = model.body(side["ids"], side["mask"].long()).last_hidden_state
    scores = model.decoder(model.network(inputs_embeds=states).logits)
    weights = scores.relu().log1p() * side["mask"][..., None]
    by_definition = weights.sum(1) if pooling == "sum" else weights.amax(1)
    by_definition.square().sum().backward()
    expected = gradients(model)
    model.zero_grad()
    monkeypatch.setattr(models_mlm, "NUMBERS", numbers)
    tokens = []
    model.decoder.register_forward_hook(lambda *given: tokens.append(given[2].shape[1]))
    found = model(side)["weights"]
    torch.testing.assert_close(found, by_definition, rtol=1e-6, atol=1e-5)
    found.square().sum().backward()
    assert max(tokens) == {1: 1, 4000: 4, 10**9: side["ids"].shape[1]}[numbers]
    top = max(float(gradient.abs().max()) for gradient in expected.values())
    close(gradients(model), expected, atol=1e-6 * top)


def batch_of(folder, n=4):
    return collation(folder)(drawn(n))


def step_of(objective, model, batch, **changes):
    own = Trained(model)({side: batch[side] for side in objective.sides})
    step = Step(number=3, total=9, group=3, first=0)
    return own, objective(own, own, step._replace(**changes))


@needs("sentence_transformers")
def test_the_loss_is_sentence_transformers(tmp_path):
    """SpladeLoss around its InfoNCE, with gradients."""
    from sentence_transformers.sparse_encoder.losses import (
        SparseMultipleNegativesRankingLoss,
        SpladeLoss,
    )

    folder = save_mlm(tmp_path / "bert")
    rates = {"query": 0.3, "document": 0.1}
    objective = SpladeObjective(Flops("sentence_transformers", rates, "constant"))
    model = model_of(folder, objective)
    own, parts = step_of(objective, model, batch_of(folder))
    queries, documents = own["queries"]["weights"], own["documents"]["weights"]
    columns = [queries, *(documents[i::3] for i in range(3))]
    nothing = torch.nn.Identity()
    theirs = SpladeLoss(nothing, SparseMultipleNegativesRankingLoss(nothing), 0.1, 0.3)
    expected = theirs.loss.compute_loss_from_embeddings(columns, None)
    expected = expected + 0.1 * theirs.document_regularizer.compute_loss_from_embeddings(
        torch.cat(columns[1:])
    )
    expected = expected + 0.3 * theirs.query_regularizer.compute_loss_from_embeddings(queries)
    torch.testing.assert_close(parts["loss"], expected, rtol=1e-6, atol=1e-6)
    ours, other = (
        torch.autograd.grad(value, queries, retain_graph=True)[0]
        for value in (parts["loss"], expected)
    )
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


@needs("neural_cherche")
def test_the_loss_is_neural_cherches(tmp_path):
    """Ranking among a question's own documents, and Flops with its weight of this step."""
    from neural_cherche import losses, utils

    folder = save_mlm(tmp_path / "bert")
    rates = {"query": 3e-3, "document": 3e-3}
    objective = SpladeObjective(Flops("neural_cherche", rates, rise=40), in_batch_negatives=False)
    model = model_of(folder, objective)
    batch = batch_of(folder)
    for name in ("ids", "mask", "kept", "asking"):  # neural-cherche takes one negative
        rows = [i for i in range(12) if i % 3 < 2]
        batch["documents"][name] = batch["documents"][name][rows]
    own, parts = step_of(objective, model, batch, group=2)
    queries, documents = own["queries"]["weights"], own["documents"]["weights"]
    triple = (queries, documents[::2], documents[1::2])
    scheduler = losses.FlopsScheduler(weight=3e-3, steps=40)
    for _ in range(3):
        scheduler.get()
    expected = losses.Ranking()(**utils.sparse_scores(*triple))
    expected = expected + scheduler.get() * losses.Flops()(
        *triple, threshold=100.0, max_flops_loss=10.0
    )
    torch.testing.assert_close(parts["loss"], expected, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("data") / "examples.jsonl", n=24)


def train(start, data, outputs, *changes):
    return run_training(
        start, data, outputs, "objective=splade", "trainer.steps=3", "trainer.learning_rate=1e-2",
        "objective.flops.weights={query: 1e-2, document: 1e-2}", *changes,
    )  # fmt: skip


@needs("sentence_transformers")
def test_a_trained_checkpoint_is_read_by_the_stages_and_by_sentence_transformers(data, tmp_path):
    from sentence_transformers import SparseEncoder

    start = as_sentence_transformers(tmp_path / "st", pooling="max", max_active_dims=40)
    folder = train(start, data, tmp_path) / "model"
    encoder = load(folder)
    assert encoder.prefixes == PROMPTS
    theirs = SparseEncoder(str(folder), device="cpu")
    for role, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        expected = encode(TEXTS, convert_to_sparse_tensor=False).numpy()
        found = evaluated(folder, role, length=130)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert not np.allclose(found, evaluated(start, role, length=130), atol=1e-3)  # it learnt
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == load_file(start / "model.safetensors").keys()
    rows = [json.loads(line) for line in (folder.parent / "steps.jsonl").read_text().splitlines()]
    for name in ("flops_query", "flops_document", "terms_document", "empty_query", "ce_sparse"):
        assert all(np.isfinite(row[name]) for row in rows)


def test_neural_cherches_layout_stays_its_own(data, tmp_path):
    start = save_mlm(tmp_path / "bert", metadata=METADATA)
    folder = train(start, data, tmp_path, "objective.only_train=[network.]") / "model"
    assert json.loads((folder / "metadata.json").read_text()) == METADATA
    assert not (folder / "modules.json").exists()
    before, after = (load_file(place / "model.safetensors") for place in (start, folder))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("cls.predictions") for name in moved)
    with torch.no_grad():
        found = model_of(folder)(side_of(folder, "query"))["weights"]
    np.testing.assert_allclose(found, evaluated(folder, "query"), rtol=0, atol=1e-5)


def test_a_start_without_a_language_models_head(data, tmp_path):
    start = save_m3(tmp_path / "m3")
    with pytest.raises(UserError, match=r"lacks .* weights of a XLMRobertaForMaskedLM"):
        train(start, data, tmp_path)
