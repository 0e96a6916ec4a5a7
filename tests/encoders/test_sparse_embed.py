"""SparseEmbed against the definition, one text at a time, and against neural-cherche on the same
weights.
"""

import numpy as np
import pytest
import torch
import transformers

from m3eval.encoders import sparse_embed
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.heads import mlm
from m3eval.errors import UserError
from m3eval.retrievers import scores as maths
from m3eval.runtime import settle
from tests.conftest import words
from tests.encoders import checkpoints
from tests.encoders.checkpoints import METADATA, neural_cherche, save_mlm
from tests.needs import needs

TEXTS = [
    *checkpoints.TEXTS,
    *(words(i, i) for i in range(4, 12)),
]
K = {"query": 7, "document": 20}
BOTH = ["sparse", "term_vectors"]


def load(folder, axis="positions", k=K, inactive="keep", precision="fp32", token_budget=4096):
    runtime = settle("cpu", precision, 1, token_budget, 100, 100)
    return sparse_embed.load(
        "s", "S", str(folder), None, axis, k, inactive, "auto", "auto", "auto", runtime
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_mlm(tmp_path_factory.mktemp("mlm") / "bert", "bert", width=8)


def by_hand(folder, text, k, axis):
    """Weights [vocabulary], and term -> vector, without padding, in float64."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(
            tokenizer(text, truncation=True, max_length=128, return_tensors="pt")["input_ids"],
            output_hidden_states=True,
        )
    scores, states = found.logits[0].double().numpy(), found.hidden_states[-1][0].double().numpy()
    projection = torch.load(folder / "linear.pt")["weight"].double().numpy()
    weights = np.log1p(np.maximum(scores, 0)).max(0)
    top = np.argsort(-weights)[:k]
    powers = np.exp(scores[:, top])
    shares = powers / powers.sum(0 if axis == "positions" else 1, keepdims=True)
    vectors = np.maximum(shares.T @ states @ projection.T, 0)
    kept = np.zeros_like(weights)
    kept[top] = weights[top]
    return kept, dict(zip(top.tolist(), vectors, strict=True))


@pytest.mark.parametrize("axis", ["positions", "terms"])
@pytest.mark.parametrize("numbers", [700, 32_000_000])
def test_terms_and_vectors_equal_the_definition(folder, axis, numbers, monkeypatch):
    monkeypatch.setattr(mlm, "NUMBERS", numbers)
    encoder = load(folder, axis, inactive="drop", token_budget=300)
    for role, k in K.items():
        found = encoder.encode(Request(TEXTS, role, 128), Wanted(BOTH, np.float32))
        terms, vectors, offsets = found.term_vectors
        for i, text in enumerate(TEXTS):
            weights, expected = by_hand(folder, text, k, axis)
            np.testing.assert_allclose(found.sparse[[i]].toarray()[0], weights, atol=1e-5)
            here = slice(offsets[i], offsets[i + 1])
            assert terms[here].tolist() == np.flatnonzero(weights).tolist()
            np.testing.assert_allclose(
                vectors[here],
                np.stack([expected[term] for term in terms[here].tolist()]),
                atol=2e-5,
            )
        assert vectors.shape == (len(terms), 8) and len(found.term_vectors) == len(TEXTS)


def test_one_representation_alone_is_the_same(folder):
    encoder = load(folder)
    both = encoder.encode(Request(TEXTS, "document", 128), Wanted(BOTH))
    for name in BOTH:
        alone = encoder.encode(Request(TEXTS, "document", 128), Wanted([name]))
        assert [found for found in BOTH if getattr(alone, found) is not None] == [name]
    np.testing.assert_array_equal(alone.term_vectors.vectors, both.term_vectors.vectors)
    assert both.term_vectors.vectors.dtype == np.float16 and both.sparse.dtype == np.float32


def test_inactive_terms_are_kept_or_dropped(folder):
    k = {"query": 130, "document": 130}
    kept, dropped = (
        load(folder, k=k, inactive=rule).encode(Request(TEXTS, "query", 128), Wanted(BOTH))
        for rule in ("keep", "drop")
    )
    assert (np.diff(kept.term_vectors.offsets) == 130).all()
    np.testing.assert_array_equal(
        np.diff(dropped.term_vectors.offsets), np.diff(dropped.sparse.indptr)
    )
    assert (np.diff(dropped.term_vectors.offsets) < 130).any()
    np.testing.assert_array_equal(kept.sparse.toarray(), dropped.sparse.toarray())
    np.testing.assert_array_equal(dropped.term_vectors.terms, dropped.sparse.indices)


@needs("neural_cherche")
@pytest.mark.parametrize(
    "lengths", [(12, 30), (110, 130)], ids=["active terms", "inactive ones, too"]
)
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_equal_to_neural_cherche(tmp_path, kind, lengths):
    metadata = METADATA | dict(
        zip(("max_length_query", "max_length_document"), lengths, strict=True)
    )
    folder = save_mlm(tmp_path / kind, kind, metadata, width=8)
    theirs, ours = (
        neural_cherche("SparseEmbed", folder),
        load(folder, "terms", {"query": "auto", "document": "auto"}),
    )
    sides = []
    for role, length in zip(("query", "document"), lengths, strict=True):
        expected = theirs.encode(TEXTS, query_mode=role == "query")
        found = ours.encode(Request(TEXTS, role, length), Wanted(BOTH, np.float32))
        np.testing.assert_allclose(
            found.sparse.toarray(), expected["sparse_activations"].numpy(), atol=1e-5
        )
        terms, vectors, offsets = found.term_vectors
        for i in range(len(TEXTS)):
            order = expected["activations"][i].argsort()
            assert (
                terms[offsets[i] : offsets[i + 1]].tolist()
                == expected["activations"][i][order].tolist()
            )
            np.testing.assert_allclose(
                vectors[offsets[i] : offsets[i + 1]],
                expected["embeddings"][i][order].detach().numpy(),
                atol=1e-5,
                rtol=1e-5,
            )
        sides.append(found.term_vectors)
    n = len(TEXTS)
    pairs = np.stack([np.arange(n), np.roll(np.arange(n), 1)], axis=1)
    expected = (
        theirs.scores(
            [TEXTS[i] for i in pairs[:, 0]], [TEXTS[i] for i in pairs[:, 1]], tqdm_bar=False
        )
        .detach()
        .numpy()
    )
    assert expected.max() > 1
    np.testing.assert_allclose(
        maths.term_match_pairs(*sides, pairs), expected, atol=1e-5, rtol=1e-5
    )
    np.testing.assert_allclose(
        maths.term_match(*sides)[0][tuple(pairs.T)], expected, atol=1e-5, rtol=1e-5
    )


def test_what_cannot_be_is_said(folder, tmp_path):
    with pytest.raises(UserError, match=r"attention_over=tokens must be positions or terms"):
        load(folder, "tokens")
    with pytest.raises(UserError, match=r"give encoder.k_tokens"):
        load(folder, k={"query": "auto", "document": 3})
    with pytest.raises(UserError, match=r"linear.pt is missing. .*encoder=splade"):
        load(save_mlm(tmp_path / "splade"))
    assert load(folder).identity["files"].keys() >= {"linear.pt", "model.safetensors"}
    assert load(folder, "terms").identity != load(folder).identity
