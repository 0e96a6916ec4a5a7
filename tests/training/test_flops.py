"""FLOPS regularisers against SPLADE's formula, sentence-transformers and neural-cherche."""

import numpy as np
import pytest
import torch

from m3eval.errors import UserError
from m3eval.training.losses.flops import Flops, flops, near_target
from tests.needs import needs

EVEN = {"query": 1.0, "document": 1.0}


def both_sides(scale=1.0):
    """[3, vocabulary] and [6, vocabulary] weights, about half of them 0, and the scores that a ReLU
    makes them of, which no regulariser moves where they are below 0.
    """
    generator = torch.Generator().manual_seed(0)
    scores = [scale * torch.randn(n, 50, generator=generator) for n in (3, 6)]
    leaves = [each.requires_grad_(True) for each in scores]
    return *(leaf.relu() for leaf in leaves), leaves


def gradient_of(value, leaves):
    gradients = torch.autograd.grad(value, leaves, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def test_flops_by_hand():
    found = flops(torch.tensor([[1.0, 0.0, 3.0], [1.0, 2.0, 0.0]]))
    assert float(found) == 1.0**2 + 1.0**2 + 1.5**2


def test_the_papers_has_a_weight_for_each_side():
    queries, documents, _ = both_sides()
    form = Flops("paper", {"query": 0.3, "document": 0.1}, "constant")
    found = form(queries, documents, 0, 10)["regulariser"]
    expected = 0.3 * queries.mean(0).square().sum() + 0.1 * documents.mean(0).square().sum()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@needs("sentence_transformers")
@pytest.mark.parametrize("threshold", [0, 25])
def test_sentence_transformers(threshold):
    """SpladeLoss over FlopsLoss, with and without its threshold, gradients too."""
    from sentence_transformers.sparse_encoder.losses import FlopsLoss

    queries, documents, leaves = both_sides()
    longer = (documents != 0).sum(1) > 25
    assert longer.any() and not longer.all()
    theirs = FlopsLoss(torch.nn.Identity(), threshold=threshold or None)
    expected = 0.3 * theirs.compute_loss_from_embeddings(queries)
    expected = expected + 0.1 * theirs.compute_loss_from_embeddings(documents)
    form = Flops(
        "sentence_transformers", {"query": 0.3, "document": 0.1}, "constant", threshold=threshold
    )
    found = form(queries, documents, 0, 10)["regulariser"]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    gradients = [gradient_of(value, leaves) for value in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


@needs("neural_cherche")
@pytest.mark.parametrize("scale", [0.1, 2.7, 2.9, 3.0, 4.0])
def test_neural_cherche(scale):
    """Far below its target, near it on both sides, and far above."""
    from neural_cherche.losses import Flops as Theirs

    theirs = Theirs()
    queries, documents, leaves = both_sides(scale)
    positives, negatives = documents[::2], documents[1::2]
    expected = theirs(queries, positives, negatives, threshold=100.0, max_flops_loss=10.0)
    form = Flops("neural_cherche", EVEN, "constant")
    found = form(queries, documents, 0, 10)
    torch.testing.assert_close(found["regulariser"], expected, atol=1e-6, rtol=0)
    ours, other = (gradient_of(value, leaves) for value in (found["regulariser"], expected))
    torch.testing.assert_close(ours, other, atol=1e-6, rtol=0)
    assert bool(found["flops_idle"]) == (not ours.any())


def test_neural_cherches_gradient_is_zero_far_from_its_target_and_lengthens_below():
    signs = {}
    for value in (50.0, 89.0, 95.0, 105.0, 111.0, 500.0):
        at = torch.tensor(value, requires_grad=True)
        (signs[value],) = torch.autograd.grad(near_target(at, 100.0, 10.0), at)
    assert {value: float(sign) for value, sign in signs.items()} == {
        50.0: 0.0, 89.0: 0.0, 95.0: -1.0, 105.0: 1.0, 111.0: 0.0, 500.0: 0.0
    }  # fmt: skip


def test_neural_cherche_warns(capsys):
    Flops("neural_cherche", EVEN).prepare()
    out = " ".join(capsys.readouterr().out.split())
    assert "has a gradient only where FLOPS lies between 90 and 110" in out
    Flops("paper").prepare()
    assert not capsys.readouterr().out


def risen(form, steps, total):
    queries, documents, _ = both_sides()
    whole = Flops(form.form, form.weights, "constant")(queries, documents, 0, total)["regulariser"]
    return [
        float((form(queries, documents, step, total)["regulariser"] / whole).detach())
        for step in steps
    ]


@needs("neural_cherche")
def test_neural_cherches_schedule():
    from neural_cherche.losses import FlopsScheduler

    theirs = FlopsScheduler(weight=1.0, steps=40)
    expected = [theirs.get() for _ in range(60)]
    found = risen(Flops("neural_cherche", EVEN, rise=40), range(60), 100)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert found[0] == pytest.approx((2 / 40) ** 2)


@needs("sentence_transformers")
@pytest.mark.parametrize("schedule", ["quadratic", "linear"])
def test_sentence_transformers_schedules(schedule):
    from sentence_transformers.sparse_encoder.callbacks import (
        SpladeRegularizerWeightSchedulerCallback,
    )
    from sentence_transformers.sparse_encoder.losses import (
        SparseMultipleNegativesRankingLoss,
        SpladeLoss,
    )
    from transformers import TrainerControl, TrainerState

    model = torch.nn.Identity()
    loss = SpladeLoss(model, SparseMultipleNegativesRankingLoss(model), 1.0, 1.0)
    callback = SpladeRegularizerWeightSchedulerCallback(loss, schedule)
    state = TrainerState(max_steps=50)
    callback.on_train_begin(None, state, TrainerControl())
    expected = []
    for step in range(50):
        state.global_step = step
        callback.on_step_begin(None, state, TrainerControl())
        expected.append(loss.document_regularizer_weight)
    found = risen(Flops("sentence_transformers", EVEN, schedule), range(50), 50)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert found[0] == 0 and found[16] == 1


def test_the_papers_schedule():
    """lambda (t / T)^2 with t = 1 at the first step."""
    found = risen(Flops("paper", EVEN, rise=4), range(6), 100)
    np.testing.assert_allclose(found, [1 / 16, 4 / 16, 9 / 16, 1, 1, 1], rtol=0, atol=1e-6)


def test_none_costs_nothing_and_is_measured():
    queries, documents, _ = both_sides()
    found = Flops("none")(queries, documents, 5, 10)
    assert not found["regulariser"] and found["flops_document"] == flops(documents)


def test_settings_that_contradict_each_other():
    with pytest.raises(UserError, match="so both must be equal"):
        Flops("neural_cherche", {"query": 1.0, "document": 2.0})
    with pytest.raises(UserError, match=r"belongs to form=sentence_transformers"):
        Flops("paper", threshold=3)
