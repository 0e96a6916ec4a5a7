"""What is trained computes what is evaluated, and learns what BGE-M3's own trainer teaches."""

import json

import numpy as np
import pytest
import torch
import transformers

from m3eval.encoders import m3 as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.stated import state
from m3eval.errors import UserError
from m3eval.runtime import settle
from m3eval.training.gradient_cache import encoded
from m3eval.training.losses.m3 import M3Loss
from m3eval.training.models import EVEN, Trained, freeze
from m3eval.training.objectives.m3 import M3Objective
from m3eval.training.objectives.objective import Step
from m3eval.training.start import opened
from tests.conftest import save_m3
from tests.needs import needs
from tests.training.small import GROUP, close, collation, drawn, gradients

ALL = ["dense", "sparse", "multi_vector"]
N = 6


def objective(**settings):
    return M3Objective(ALL, M3Loss(**settings))


def loss_of(model, batch, settings, part_size=None, gradient_cache=False):
    trained = Trained(model, part_size, gradient_cache)
    own = trained({side: batch[side] for side in ("queries", "documents")})
    scores = batch.get("teacher_scores")
    return settings(own, own, Step(0, 1, GROUP, 0, scores))["loss"]


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_embeddings_are_the_packed_engines(tmp_path, pooling):
    folder = save_m3(tmp_path / "m3")
    state(folder, 32, pooling, {"query": "ba: ", "document": "do "})
    runtime = settle("cpu", "fp32", 1, 256, 100, 100)
    encoder = family.load("x", "x", str(folder), None, runtime)
    model = objective().model(opened(str(folder), None))
    model.eval()  # no dropout
    texts = [text for each in drawn(N) for text in each.documents]
    with torch.no_grad():
        found = model(collation(folder).side(texts, "document"))
    expected = encoder.encode(Request(texts, "document", 100), Wanted(ALL, np.float32))
    np.testing.assert_allclose(found["dense"], expected.dense, rtol=0, atol=1e-5)
    for i in range(len(texts)):
        own = found["vectors"][i][found["real"][i]]
        np.testing.assert_allclose(own, expected.multi_vector[i], rtol=0, atol=1e-5)
    weights = torch.zeros(len(texts), encoder.backbone.shape.vocabulary)
    weights = weights.scatter_reduce(1, found["terms"], found["weights"], "amax")
    np.testing.assert_allclose(weights, expected.sparse.toarray(), rtol=0, atol=1e-5)
    assert expected.sparse.nnz > 50


@needs("FlagEmbedding")
@pytest.mark.parametrize("part_size", [None, 4])
def test_every_gradient_is_that_of_flagembeddings_model(m3, part_size):
    """From texts to the parameters of the transformer and of both heads, in sub-batches too."""
    from bench.flagembedding import flagembedding

    flagembedding()
    from FlagEmbedding.finetune.embedder.encoder_only.m3.modeling import (
        EncoderOnlyEmbedderM3Model,
    )

    batch = collation(m3)(drawn(N))
    model = objective(teacher="kl_div").model(opened(str(m3), None)).eval()
    loss = loss_of(model, batch, objective(teacher="kl_div"), part_size)
    loss.backward()
    found = gradients(model)

    again = objective().model(opened(str(m3), None)).eval()
    theirs = EncoderOnlyEmbedderM3Model(
        {
            "model": again.body,
            "colbert_linear": again.heads["multi_vector"],
            "sparse_linear": again.heads["sparse"],
        },
        transformers.AutoTokenizer.from_pretrained(m3),
        temperature=0.02,
        kd_loss_type="kl_div",
        normalize_embeddings=True,
        use_self_distill=True,
        sub_batch_size=part_size or -1,
    )
    theirs.training = True  # their loss; the modules inside stay without dropout
    features = [
        {"input_ids": batch[side]["ids"], "attention_mask": batch[side]["mask"].long()}
        for side in ("queries", "documents")
    ]
    expected = theirs(*features, batch["teacher_scores"].ravel().tolist()).loss
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    close(found, gradients(again), atol=1e-5, rtol=1e-4)


def test_their_padding_wins_where_every_product_is_negative(m3):
    """The one deviation of scores: padded tokens are no candidates of MaxSim here."""
    model = objective().model(opened(str(m3), None)).eval()
    with torch.no_grad():
        model.heads["multi_vector"].weight.zero_()
        bias = model.heads["multi_vector"].bias
        bias.zero_()
        side = collation(m3).side(["ba", "ba be bi bo bu da"], "query")
        bias[0] = 1
        queries = model(side)
        bias[0] = -1
        documents = model(side)
    from m3eval.training.similarity import maxsim

    ours = maxsim(queries["vectors"], queries["real"], documents["vectors"], documents["real"])
    zeros = documents["vectors"] * documents["real"][..., None]  # as the reference has padding
    theirs = torch.einsum("qid,pjd->qpij", queries["vectors"], zeros).amax(-1)
    theirs = (theirs * queries["real"][:, None]).sum(-1) / queries["real"].sum(1)[:, None]
    torch.testing.assert_close(ours, torch.full((2, 2), -1.0))
    torch.testing.assert_close(theirs[:, 0], torch.zeros(2))  # the short document has padding


def test_a_new_lexical_head_weighs_every_token_alike_whatever_the_seed(tmp_path):
    folder = save_m3(tmp_path / "m3")
    (folder / "sparse_linear.pt").unlink()
    heads = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = objective().model(opened(str(folder), None)).eval()
        side = collation(folder).side(["ba be bi", "bo"], "query")
        embedded = model(side)
        counts = side["kept"] & ~torch.isin(side["ids"], model.dropped)
        assert counts.sum() >= 4
        torch.testing.assert_close(embedded["weights"], counts * EVEN)
        embedded["weights"].sum().backward()
        assert model.heads["sparse"].weight.grad.norm() > 0  # it can learn from there
        heads.append(model.heads["sparse"].state_dict())
    close(heads[0], heads[1], atol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_gradient_cache_gives_the_gradients_of_the_whole_batch(m3, dropout):
    """Three heads and self-distillation; with dropout, parts are encoded again as they were."""
    batch, found = collation(m3)(drawn(N)), {}
    for cached in (False, True):
        model = objective().model(opened(str(m3), None)).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        torch.manual_seed(1)
        loss = loss_of(model, batch, objective(), part_size=4, gradient_cache=cached)
        loss.backward()
        found[cached] = {"loss": loss.detach()} | gradients(model)
    close(found[True], found[False], atol=1e-5, rtol=1e-5)


def test_the_gradient_cache_keeps_no_activations(m3):
    """What is saved for the backward pass does not grow with the batch, but for embeddings."""
    sizes = {}
    model = objective().model(opened(str(m3), None)).train()
    for cached in (False, True):
        saved = []

        def keep(tensor, saved=saved):
            saved.append(tensor.numel())
            return tensor

        side = collation(m3)(drawn(N))["documents"]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoded(model, side, 4, again=cached)
        sizes[cached] = sum(saved)
    assert sizes[True] < sizes[False] / 20


def test_only_what_is_named_learns_and_the_rest_stays_to_the_byte(m3):
    model = objective().model(opened(str(m3), None))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    freeze(model, ["heads.sparse"])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss_of(model, collation(m3)(drawn(N)), objective()).backward()
    optimizer.step()
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert moved == ["heads.sparse.weight", "heads.sparse.bias"]
    with pytest.raises(UserError, match=r"no parameter's name begins with head\.; there are"):
        freeze(model, ["head."])


def test_a_frozen_transformer_has_no_dropout(m3):
    model = objective().model(opened(str(m3), None))
    trained = Trained(model, frozen_body=True).train()
    assert trained.training and model.training and not model.body.training
    assert not any(module.training for module in model.body.modules())


@pytest.mark.parametrize("ways", [["dense", "sparse"], ["sparse"]])
def test_some_heads_only(m3, tmp_path, ways):
    """The checkpoint says so, and the others are refused where it is read."""
    chosen = M3Objective(ways, M3Loss())
    start = opened(str(m3), None)
    model = chosen.model(start)
    own = model(collation(m3)(drawn(2))["queries"])
    assert ("dense" in own) == ("dense" in ways) and "vectors" not in own
    chosen.save(model, start, tmp_path)
    runtime = settle("cpu", "fp32", 1, 256, 100, 100)
    encoder = family.load("x", "x", str(tmp_path), None, runtime)
    assert encoder.representations == ["dense", "sparse"]
    assert not (tmp_path / "colbert_linear.pt").exists()
    assert encoder.encode(Request(["ba be"], "query", 30), Wanted(["sparse"])).sparse.nnz
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["m3_representations"] == ["dense", "sparse"]
