"""SparseEmbed: what learns computes what is evaluated; neural-cherche's losses and files."""

import json

import numpy as np
import pytest
import torch

from m3eval.encoders import sparse_embed as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.runtime import settle
from m3eval.training import similarity
from m3eval.training.losses.contrastive import positives
from m3eval.training.losses.flops import Flops
from m3eval.training.losses.terms import ranking, ranking_where_shared
from m3eval.training.objectives.objective import Step
from m3eval.training.objectives.sparse_embed import SparseEmbedObjective, share
from m3eval.training.start import opened
from tests.encoders.checkpoints import METADATA, neural_cherche, save_mlm
from tests.needs import needs
from tests.training.small import run_training, write_examples
from tests.training.test_splade import PROMPTS, ROLES, TEXTS, as_sentence_transformers, side_of

AUTO = {"query": "auto", "document": "auto"}
BOTH = ["sparse", "term_vectors"]


def objective(**settings):
    return SparseEmbedObjective(Flops("none"), **settings)


def load(folder, over="terms"):
    runtime = settle("cpu", "fp32", 1, 256, 100, 100)
    frame = (over, AUTO, "keep", "auto", "auto", "auto")
    return family.load("x", "x", str(folder), None, *frame, runtime)


@pytest.mark.parametrize("over", ["terms", "positions"])
def test_terms_and_vectors_are_the_packed_engines(tmp_path, over):
    folder = save_mlm(tmp_path / "bert", metadata=METADATA, width=8)
    model = objective(attention_over=over).model(opened(str(folder), None)).eval()
    for role, length in (("query", 12), ("document", 30)):
        with torch.no_grad():
            found = model(side_of(folder, role, length=length))
        request = Request(TEXTS, role, length)
        expected = load(folder, over).encode(request, Wanted(BOTH, np.float32))
        np.testing.assert_allclose(found["weights"], expected.sparse.toarray(), rtol=0, atol=1e-5)
        terms, vectors, _ = expected.term_vectors
        assert found["terms"].flatten().tolist() == terms.tolist()
        np.testing.assert_allclose(found["vectors"].flatten(0, 1), vectors, rtol=1e-5, atol=1e-5)


def drawn(texts, k, seed):
    """Terms, vectors and weights of texts that share few terms."""
    generator = torch.Generator().manual_seed(seed)
    terms = [torch.randperm(40, generator=generator)[:k].sort().values for _ in range(texts)]
    vectors = torch.rand(texts, k, 6, generator=generator).requires_grad_(True)
    return torch.stack(terms), vectors


@needs("neural_cherche")
@pytest.mark.parametrize("k", [1, 4, 20])
def test_vectors_loss_is_neural_cherches(k):
    """With no, some and all questions sharing a term with both of their documents."""
    from neural_cherche import losses, utils

    (q_terms, q_vectors), (terms, vectors) = drawn(7, k, 0), drawn(14, k + 2, 1)
    scores = utils.dense_scores(
        q_terms, terms[::2], terms[1::2], q_vectors, vectors[::2], vectors[1::2], func=torch.sum
    )
    ours = similarity.shared_vectors(q_terms, q_vectors, terms, vectors)
    shared = share(q_terms, terms)
    positive = positives(7, 2, 0, ours.device)
    dropped = int((~(shared[range(7), positive] & shared[range(7), positive + 1])).sum())
    assert {1: dropped == 7, 4: 0 < dropped < 7, 20: dropped == 0}[k]
    found = ranking_where_shared(ours, shared, positive, 2, False)
    if scores["positive_scores"] is None:
        assert not found and not any(
            grad.any() for grad in torch.autograd.grad(found, (q_vectors, vectors))
        )
        return
    expected = losses.Ranking()(**scores)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for mine, other in zip(
        torch.autograd.grad(found, (q_vectors, vectors)),
        torch.autograd.grad(expected, (q_vectors, vectors)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_scores_are_the_retrievers():
    (q_terms, q_vectors), (terms, vectors) = drawn(3, 9, 0), drawn(5, 12, 1)
    q_vectors, vectors = q_vectors.detach(), vectors.detach()
    found = similarity.shared_vectors(q_terms, q_vectors, terms, vectors)
    for i in range(3):
        for j in range(5):
            own, other = (
                dict(zip(t.tolist(), v, strict=True))
                for t, v in ((q_terms[i], q_vectors[i]), (terms[j], vectors[j]))
            )
            expected = sum(float(own[t] @ other[t]) for t in own.keys() & other.keys())
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-5)


@needs("neural_cherche")
def test_the_whole_loss_is_neural_cherches():
    """1.0 vectors + 0.1 weights + FLOPS with its weight of this step."""
    from neural_cherche import losses, utils

    (q_terms, q_vectors), (terms, vectors) = drawn(5, 9, 0), drawn(10, 12, 1)
    generator = torch.Generator().manual_seed(2)
    weights = [2 * torch.rand(n, 40, generator=generator) for n in (5, 10)]
    triple = (weights[0], weights[1][::2], weights[1][1::2])
    of_vectors = utils.dense_scores(
        q_terms, terms[::2], terms[1::2], q_vectors, vectors[::2], vectors[1::2], func=torch.sum
    )
    regulariser = losses.Flops()(*triple, threshold=45.0, max_flops_loss=10.0)
    assert 0 < regulariser < 10
    scheduler = losses.FlopsScheduler(weight=0.5, steps=20)
    expected = (
        1.0 * losses.Ranking()(**of_vectors)
        + 0.1 * losses.Ranking()(**utils.sparse_scores(*triple))
        + scheduler.get() * regulariser
    )
    rates = {"query": 0.5, "document": 0.5}
    ours = SparseEmbedObjective(
        Flops("neural_cherche", rates, rise=20, target=45.0), in_batch_negatives=False
    )
    own = {
        "queries": {"weights": weights[0], "terms": q_terms, "vectors": q_vectors},
        "documents": {"weights": weights[1], "terms": terms, "vectors": vectors},
    }
    found = ours(own, own, Step(number=0, total=9, group=2, first=0))
    torch.testing.assert_close(found["loss"], expected, rtol=0, atol=1e-6)


def test_in_batch_negatives_are_everybodys_documents():
    scores = torch.randn(3, 12)
    positive = positives(3, 2, 4, scores.device)
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([4, 6, 8]))
    torch.testing.assert_close(ranking(scores, positive, 2, True), expected)
    own = torch.stack([scores[i, 4 + 2 * i : 6 + 2 * i] for i in range(3)])
    expected = torch.nn.functional.cross_entropy(own, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(ranking(scores, positive, 2, False), expected)


def train(start, outputs, *changes):
    return run_training(
        start, write_examples(outputs / "examples.jsonl", n=24), outputs, "objective=sparse_embed",
        "objective.width=8", "trainer.steps=3", *changes,
    ) / "model"  # fmt: skip


@needs("neural_cherche")
def test_a_trained_checkpoint_is_read_by_the_stages_and_by_neural_cherche(tmp_path):
    folder = train(save_mlm(tmp_path / "bert", metadata=METADATA), tmp_path)
    encoder, theirs = load(folder), neural_cherche("SparseEmbed", folder)
    assert json.loads((folder / "metadata.json").read_text()) == METADATA
    for role, length in (("query", 12), ("document", 30)):
        expected = theirs.encode(TEXTS, query_mode=role == "query")
        found = encoder.encode(Request(TEXTS, role, length), Wanted(BOTH, np.float32))
        np.testing.assert_allclose(
            found.sparse.toarray(), expected["sparse_activations"], rtol=0, atol=1e-5
        )
        terms, vectors, offsets = found.term_vectors
        for i in range(len(TEXTS)):
            order = expected["activations"][i].argsort()
            here = slice(offsets[i], offsets[i + 1])
            assert terms[here].tolist() == expected["activations"][i][order].tolist()
            np.testing.assert_allclose(
                vectors[here], expected["embeddings"][i][order].detach(), rtol=1e-5, atol=1e-5
            )


def test_what_the_start_does_not_say_is_written_down(tmp_path):
    """A plain language model with prompts: no metadata.json, no linear.pt."""
    start = as_sentence_transformers(tmp_path / "st")
    folder = train(start, tmp_path, "objective.k_tokens={query: 12, document: 30}")
    said = json.loads((folder / "metadata.json").read_text())
    assert [said[f"{role}_prefix"] for role in ROLES] == [PROMPTS[role] for role in ROLES]
    encoder = load(folder)
    assert encoder.prefixes == PROMPTS
    model = objective().model(opened(str(folder), None)).eval()
    assert model.k_tokens == {"query": 12, "document": 30}
    for role in ROLES:
        found = encoder.encode(Request(TEXTS, role, 100), Wanted(BOTH, np.float32))
        with torch.no_grad():
            expected = model(side_of(folder, role))
        np.testing.assert_allclose(found.sparse.toarray(), expected["weights"], rtol=0, atol=1e-5)
        vectors = expected["vectors"].flatten(0, 1)
        np.testing.assert_allclose(found.term_vectors.vectors, vectors, rtol=1e-5, atol=1e-5)
