"""M3's loss against FlagEmbedding's class on random embeddings, and where it is another."""

import itertools

import pytest
import torch

from m3eval.training.losses import contrastive
from m3eval.training.losses.m3 import M3Loss
from m3eval.training.objectives.m3 import similarities
from tests.needs import needs

QUERIES, GROUP, WIDTH, VOCABULARY = 5, 3, 8, 50
ALL = ["dense", "sparse", "multi_vector"]
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def embeddings(n, length, seed, leaves):
    """Of n texts of one length; every tensor that learns is put into `leaves`."""
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape):
        leaves.append(torch.randn(*shape, generator=generator).requires_grad_())
        return leaves[-1]

    return {
        "dense": torch.nn.functional.normalize(leaf(n, WIDTH), dim=-1),
        "terms": torch.randint(VOCABULARY, (n, length), generator=generator),
        "weights": leaf(n, length).relu() / 8,
        "vectors": torch.nn.functional.normalize(leaf(n, length, WIDTH), dim=-1),
        "real": torch.ones(n, length, dtype=torch.bool),
    }


def batch(seed=0):
    leaves: list[torch.Tensor] = []
    queries = embeddings(QUERIES, 4, seed, leaves)
    documents = embeddings(QUERIES * GROUP, 7, seed + 1, leaves)
    teacher = torch.randn(QUERIES, GROUP, generator=torch.Generator().manual_seed(seed))
    return queries, documents, teacher, leaves


def ours(settings, sides, ways=ALL, step=0, with_teacher=True):
    queries, documents, teacher, _ = sides
    positive = contrastive.positives(QUERIES, GROUP, 0, torch.device("cpu"))
    return settings(
        similarities(queries, documents, ways),
        positive,
        GROUP,
        step,
        teacher if with_teacher else None,
    )


def theirs(sides, unified=True, **settings):
    """The loss of FlagEmbedding's model, whose encoder is left out."""
    from bench.flagembedding import flagembedding

    flagembedding()
    from FlagEmbedding.finetune.embedder.encoder_only.m3.modeling import (
        EncoderOnlyEmbedderM3Model,
    )

    class GivenEmbeddings(EncoderOnlyEmbedderM3Model):
        def encode(self, features):
            dense = torch.zeros(len(features["terms"]), VOCABULARY)
            sparse = dense.scatter_reduce(1, features["terms"], features["weights"], "amax")
            return features["dense"], sparse, features["vectors"]

        def _get_queries_attention_mask(self, queries):
            return torch.cat([queries["real"][:, :1], queries["real"]], dim=1)  # CLS in front

    body = torch.nn.Identity()
    body.config = type("Config", (), {"vocab_size": VOCABULARY})
    model = GivenEmbeddings(
        {"model": body, "colbert_linear": body, "sparse_linear": body},
        temperature=0.02,
        unified_finetuning=unified,
        **{"kd_loss_type": "kl_div"} | settings,
    ).train()
    return model


CASES = {
    "contrastive": ({"self_distillation": False}, {"use_self_distill": False}, False),
    "self-distillation": ({}, {"use_self_distill": True}, False),
    "kl_div": ({"teacher": "kl_div"}, {"use_self_distill": True}, True),
    "m3_kd_loss": (
        {"teacher": "m3_kd_loss"},
        {"use_self_distill": True, "kd_loss_type": "m3_kd_loss"},
        True,
    ),
}


@needs("FlagEmbedding")
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_flagembeddings(case):
    settings, their_settings, taught = CASES[case]
    sides, again = batch(), batch()
    loss = ours(M3Loss(**settings), sides, with_teacher=taught)["loss"]
    loss.backward()
    teacher = again[2].ravel().tolist() if taught else None
    expected = theirs(again, **their_settings)(again[0], again[1], teacher).loss
    expected.backward()
    torch.testing.assert_close(loss, expected, **EXACT)
    for found, theirs_ in zip(sides[3], again[3], strict=True):
        torch.testing.assert_close(found.grad, theirs_.grad, rtol=1e-5, atol=1e-5)


@needs("FlagEmbedding")
def test_dense_alone_is_their_loss_without_unified_finetuning():
    sides, again = batch(), batch()
    loss = ours(M3Loss(), sides, ways=["dense"], with_teacher=False)["loss"]
    torch.testing.assert_close(loss, theirs(again, unified=False)(again[0], again[1]).loss, **EXACT)


@needs("FlagEmbedding")
@pytest.mark.parametrize("start", [0, 1, 2])
def test_self_distillation_begins_with_their_step_plus_one(start):
    """Their counter of calls must be above the setting; ours is the first step with it."""
    sides = batch()
    model = theirs(sides, use_self_distill=True, self_distill_start_step=start - 1)
    for step in range(4):
        expected = model(sides[0], sides[1]).loss
        settings = M3Loss(self_distillation_start=start)
        found = ours(settings, sides, step=step, with_teacher=False)
        torch.testing.assert_close(found["loss"], expected, **EXACT)
        assert ("kl_dense" in found) == (step >= start)


@pytest.mark.parametrize("n", [2, 3])
def test_any_ways_of_scoring_by_hand(n):
    """Divisors are the number of ways plus one, and their number."""
    for ways in itertools.combinations(ALL, n):
        sides = batch()
        settings = M3Loss()
        found = ours(settings, sides, ways=ways, with_teacher=False)
        scores = {k: v / 0.02 for k, v in similarities(sides[0], sides[1], ways).items()}
        together = sum(settings.ensemble_weights[name] * scores[name] for name in ways)
        target = torch.arange(QUERIES) * GROUP
        ce = torch.nn.functional.cross_entropy
        first = ce(together, target)
        second = torch.zeros(())
        for name in ways:
            weight = settings.loss_weights[name]
            first = first + weight * ce(scores[name], target)
            second = second + weight * ce(scores[name], together.softmax(-1).detach())
        expected = (first / (n + 1) + second / n) / 2
        torch.testing.assert_close(found["loss"], expected, **EXACT)
        assert set(found) == {
            "loss",
            "ce_ensemble",
            *(f"{kind}_{w}" for w in ways for kind in ("ce", "kl")),
        }


def test_a_teacher_that_learns_has_another_gradient():
    gradients = []
    for stop in (True, False):
        sides = batch()
        ours(M3Loss(stop_gradient=stop), sides, with_teacher=False)["loss"].backward()
        gradients.append(sides[3][0].grad)
    assert not torch.allclose(*gradients, rtol=1e-3)


def test_without_in_batch_negatives_other_questions_documents_do_not_count():
    """The reference fails there with more questions than documents each, or learns nothing."""
    settings = M3Loss(in_batch_negatives=False)
    sides = batch()
    loss = ours(settings, sides, with_teacher=False)["loss"]
    alone = []
    for i in range(QUERIES):
        queries = {name: tensor[i : i + 1] for name, tensor in sides[0].items()}
        own = {n: t[i * GROUP : (i + 1) * GROUP] for n, t in sides[1].items()}
        scores = similarities(queries, own, ALL)
        alone.append(M3Loss()(scores, torch.zeros(1, dtype=torch.long), GROUP, 0)["loss"])
    torch.testing.assert_close(loss, torch.stack(alone).mean(), **EXACT)
    assert loss > 0.1
