"""SPLADE against the definition, one text at a time, and against neural-cherche and
sentence-transformers.
"""

import json

import numpy as np
import pytest
import torch
import transformers

from m3eval.config import Setup, compose
from m3eval.encoders import splade
from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.encoders.heads import mlm
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import words
from tests.encoders import checkpoints
from tests.encoders.checkpoints import CONFIGS, METADATA, neural_cherche, save_mlm
from tests.needs import imported, needs

TEXTS = [
    *checkpoints.TEXTS,
    "<mask> ba",
    *(words(i, i) for i in range(4, 9)),
]
PLAIN = {"query": "auto", "document": "auto"}


def load(
    folder,
    pooling="max",
    k_tokens=PLAIN,
    special="keep",
    threshold=0.0,
    token_budget=4096,
    precision="fp32",
    **other,
):
    runtime = settle("cpu", precision, 1, token_budget, 100, 100)
    settings = {"query_prefix": "auto", "document_prefix": "auto", "n_mask_tokens": "auto"} | other
    return splade.load(
        "s",
        "S",
        str(folder),
        None,
        pooling,
        k_tokens,
        special,
        threshold,
        runtime=runtime,
        **settings,
    )


def by_hand(folder, texts, pooling, max_length=128):
    """[n, vocabulary] by transformers' own model, without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    found = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")[
            "input_ids"
        ]
        with torch.no_grad():
            weights = torch.log1p(model(ids).logits[0].double().relu())
        found.append((weights.amax(0) if pooling == "max" else weights.sum(0)).numpy())
    return np.stack(found)


@pytest.fixture(scope="module", params=list(CONFIGS))
def checkpoint(request, tmp_path_factory):
    return save_mlm(tmp_path_factory.mktemp("mlm") / request.param, request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_mlm(tmp_path_factory.mktemp("mlm") / "bert")


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_every_architecture_equals_the_definition(checkpoint, pooling):
    encoder = load(checkpoint, pooling)
    expected = by_hand(checkpoint, TEXTS, pooling)
    found = encoder.encode(Request(TEXTS, "document", 128), Wanted(["sparse"]))
    assert (expected > 0).mean() > 0.1 and (expected == 0).mean() > 0.1
    np.testing.assert_allclose(
        found.sparse.toarray(), expected, atol=1e-4 if pooling == "sum" else 1e-5, rtol=1e-5
    )
    assert found.truncated == 1 and found.sparse.has_sorted_indices
    assert encoder.backbone.engine == (
        "packed" if checkpoint.name in ("bert", "xlm-roberta") else "reference"
    )


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("numbers", [1, 700, 4000])
def test_few_scores_at_once_change_nothing(bert, pooling, numbers, monkeypatch):
    """1: every token alone; 700: six tokens of a text; 4000: some texts together, longer ones in
    parts.
    """
    whole = load(bert, pooling).encode(Request(TEXTS, "document", 128), Wanted(["sparse"])).sparse
    monkeypatch.setattr(mlm, "NUMBERS", numbers)
    largest = []
    encoder = load(bert, pooling)
    _ = encoder.backbone.model
    encoder.heads["document"].sparse.lm.decoder.register_forward_hook(
        lambda module, given, scores: largest.append(scores.numel())
    )
    parts = encoder.encode(Request(TEXTS, "document", 128), Wanted(["sparse"])).sparse
    np.testing.assert_allclose(parts.toarray(), whole.toarray(), atol=1e-5, rtol=1e-6)
    assert max(largest) <= max(numbers, whole.shape[1])


def test_top_terms_of_queries_and_documents(bert):
    everything = (
        load(bert).encode(Request(TEXTS, "query", 128), Wanted(["sparse"])).sparse.toarray()
    )
    encoder = load(bert, k_tokens={"query": 3, "document": 10_000})
    found = encoder.encode(Request(TEXTS, "query", 128), Wanted(["sparse"])).sparse
    for row, weights in zip(found.toarray(), everything, strict=True):
        top = np.argsort(-weights)[:3]
        assert set(np.flatnonzero(row)) == set(top[weights[top] > 0])
        np.testing.assert_array_equal(row[top], weights[top])
    np.testing.assert_array_equal(
        encoder.encode(Request(TEXTS, "document", 128), Wanted(["sparse"])).sparse.toarray(),
        everything,
    )


def test_special_terms_and_weak_ones_can_be_dropped(bert):
    kept = load(bert).encode(Request(TEXTS, "query", 128), Wanted(["sparse"])).sparse.toarray()
    special = [0, 1, 2, 3, kept.shape[1] - 1]
    assert kept[:, special].any()
    dropped = (
        load(bert, special="drop")
        .encode(Request(TEXTS, "query", 128), Wanted(["sparse"]))
        .sparse.toarray()
    )
    assert not dropped[:, special].any()
    kept[:, special] = 0
    np.testing.assert_array_equal(dropped, kept)
    strong = (
        load(bert, special="drop", threshold=0.5)
        .encode(Request(TEXTS, "query", 128), Wanted(["sparse"]))
        .sparse.toarray()
    )
    np.testing.assert_array_equal(strong, np.where(kept > 0.5, kept, 0))


@needs("neural_cherche")
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "distilbert"])
def test_equal_to_neural_cherche(tmp_path, kind):
    folder = save_mlm(tmp_path / kind, kind, METADATA)
    theirs = neural_cherche("Splade", folder)
    ours = load(folder)
    for role, length in (("query", 12), ("document", 30)):
        expected = theirs.encode(TEXTS, query_mode=role == "query")["sparse_activations"].numpy()
        found = ours.encode(Request(TEXTS, role, length), Wanted(["sparse"])).sparse.toarray()
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert ((expected > 0).sum(1) <= length).all()


@pytest.fixture(scope="module")
def sentence_transformers():
    """The library."""
    return imported("sentence_transformers")


def save_sparse_encoder(library, source, folder, pooling="max", activation="relu", **settings):
    """The language model in `source` as a SparseEncoder saves it; gives the folder and the
    library's own model of it.
    """
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    modules = [
        Transformer(str(source), transformer_task="fill-mask"),
        SpladePooling(pooling, activation),
    ]
    library.SparseEncoder(modules=modules, device="cpu", **settings).save(str(folder))
    return folder, library.SparseEncoder(str(folder), device="cpu")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("numbers", [mlm.NUMBERS, 4000])
@pytest.mark.parametrize(
    ("pooling", "activation"), [(p, a) for p in ("max", "sum") for a in ("relu", "log1p_relu")]
)
def test_pooling_and_activation_are_those_of_the_checkpoint(
    bert, sentence_transformers, tmp_path, pooling, activation, numbers, monkeypatch
):
    """OpenSearch's models take the logarithm twice (log1p_relu); a plain SPLADE of their weights
    would be another model.
    """
    monkeypatch.setattr(mlm, "NUMBERS", numbers)
    folder, theirs = save_sparse_encoder(
        sentence_transformers, bert, tmp_path / "st", pooling, activation
    )
    encoder = load(folder, "auto")
    found = encoder.encode(Request(TEXTS, "document", 130), Wanted(["sparse"])).sparse.toarray()
    expected = theirs.encode_document(TEXTS, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 if pooling == "max" else 1e-4, rtol=1e-5)
    tokenizer, model = (
        getattr(transformers, f"Auto{x}").from_pretrained(bert)
        for x in ("Tokenizer", "ModelForMaskedLM")
    )
    with torch.no_grad():
        weights = torch.log1p(
            model.eval()(**tokenizer(TEXTS[0], return_tensors="pt")).logits[0].double().relu()
        )
    weights = torch.log1p(weights) if activation == "log1p_relu" else weights
    by_definition = weights.amax(0) if pooling == "max" else weights.sum(0)
    np.testing.assert_allclose(found[0], by_definition.numpy(), atol=1e-5, rtol=1e-5)
    assert (
        encoder.identity["pooling"] == pooling
        and encoder.identity.get("activation", "relu") == activation
    )
    other = {"max": "sum", "sum": "max"}[pooling]
    with pytest.raises(
        UserError,
        match=rf"encoder.pooling={other}, but .*_strategy={pooling}.*leave encoder.pooling=auto",
    ):
        load(folder, other)
    assert load(folder, pooling).identity == encoder.identity


def test_prompts_and_the_number_of_terms_are_those_of_the_checkpoint(
    bert, sentence_transformers, tmp_path
):
    settings = {"prompts": {"query": "ba ", "document": "do "}, "max_active_dims": 9}
    folder, theirs = save_sparse_encoder(sentence_transformers, bert, tmp_path / "st", **settings)
    encoder = load(folder, "auto")
    for role, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        found = encoder.encode(Request(TEXTS, role, 130), Wanted(["sparse"])).sparse.toarray()
        np.testing.assert_allclose(
            found, encode(TEXTS, convert_to_sparse_tensor=False).numpy(), atol=1e-5
        )
        assert (found > 0).sum(1).max() == 9
    given = load(folder, "auto", {"query": None, "document": 5}, query_prefix="")
    assert given.identity["k_tokens"] == {"query": None, "document": 5} and given.prefixes == {
        "query": "",
        "document": "do ",
    }


def test_a_sparse_encoder_that_is_more_than_splade_is_refused(
    bert, sentence_transformers, tmp_path
):
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import (
        SparseStaticEmbedding,
        SpladePooling,
        Transformer,
    )

    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    static = SparseStaticEmbedding(tokenizer, weight=torch.ones(len(tokenizer)))
    documents = [Transformer(str(bert), transformer_task="fill-mask"), SpladePooling("max")]
    router = Router.for_query_document([static], documents)
    sentence_transformers.SparseEncoder(modules=[router], device="cpu").save(
        str(tmp_path / "router")
    )
    with pytest.raises(
        UserError, match=r"consists of Router \(modules.json\).*encoder=sentence_transformers"
    ):
        load(tmp_path / "router", "auto")
    folder, _ = save_sparse_encoder(sentence_transformers, bert, tmp_path / "st")
    (place,) = folder.glob("*_SpladePooling/config.json")
    for path, changes, message in (
        (
            place,
            {"activation_function": "softplus"},
            r"activation_function=softplus \(splade does relu, log1p_relu\)",
        ),
        (place, {"pooling_strategy": "mean"}, "pooling_strategy=mean"),
        (
            folder / "config_sentence_transformers.json",
            {"similarity_fn_name": "cosine"},
            "similarity_fn_name=cosine",
        ),
        (folder / "sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case=True"),
    ):
        before = path.read_text()
        rewrite(path, **changes)
        with pytest.raises(UserError, match=f"{message}.*encoder=sentence_transformers"):
            load(folder, "auto")
        path.write_text(before)
    place.unlink()
    with pytest.raises(UserError, match=r"SpladePooling/config.json is missing"):
        load(folder, "auto")


def test_settings_overrule_metadata(tmp_path):
    folder = save_mlm(tmp_path / "bert", "bert", METADATA)
    encoder = load(
        folder, k_tokens={"query": None, "document": 5}, query_prefix="", n_mask_tokens=1
    )
    assert encoder.prefixes == {
        "query": "",
        "document": "do ",
    } and encoder.suffixes == dict.fromkeys(["query", "document"], " <mask>")
    assert encoder.identity["k_tokens"] == {"query": None, "document": 5}
    assert encoder.framed("ba", "document") == "do ba <mask>"
    assert load(folder).identity != encoder.identity
    assert (
        load(save_mlm(tmp_path / "old", "bert", {"max_length_query": 9, "max_length_document": 9}))
        .suffixes["query"]
        .count("<mask>")
        == 3
    )


@needs("cognition")
def test_the_tiny_model_equals_sentence_transformers(sentence_transformers):
    encoder = tiny()
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    transformer = Transformer(
        str(encoder.heads["document"].sparse.lm.folder), transformer_task="fill-mask"
    )
    theirs = sentence_transformers.SparseEncoder(
        modules=[transformer, SpladePooling("max")], device="cpu"
    )
    texts = [
        "What is the capital of France?",
        "",
        "Paris is the capital of France. " * 9,
        "Water boils at 100 degrees.",
    ]
    expected = theirs.encode(texts, convert_to_sparse_tensor=False).numpy()
    found = encoder.encode(Request(texts, "document", 512), Wanted(["sparse"])).sparse.toarray()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 5 < (found[0] > 0).sum() < 100


def tiny():
    return Setup(
        compose("encoder=splade_tiny", "runtime.precision=fp32", "runtime.threads=1")
    ).encoder


@needs("cognition")
def test_meaning_is_expanded():
    encoder = tiny()
    row = encoder.encode(
        Request(["What is the capital of France?"], "query", 512), Wanted(["sparse"])
    ).sparse
    terms = {
        encoder.backbone.tokenization.tokenizer.decode([token]) for token in row.indices.tolist()
    }
    assert {"capital", "france", "paris"} <= terms


def test_what_cannot_be_is_said(bert, m3, tmp_path):
    with pytest.raises(UserError, match=r"lacks .* weights of a XLMRobertaForMaskedLM.*lm_head"):
        load(m3).encode(Request(["ba"], "query", 128), Wanted(["sparse"]))
    for wrong in ({"pooling": "mean"}, {"special": "none"}, {"threshold": -1}):
        with pytest.raises(UserError, match=r"pooling.*special_tokens.*threshold"):
            load(bert, **wrong)
    with pytest.raises(UserError, match=r"k_tokens.query=0"):
        load(bert, k_tokens={"query": 0, "document": None})
    with pytest.raises(UserError, match="give query and document"):
        load(bert, k_tokens={"query": 1})
    with pytest.raises(
        UserError, match=r"no package nothing_of_the_kind is installed.*m3eval\[splade\]"
    ):
        load("package:nothing_of_the_kind/model")
    with pytest.raises(UserError, match=r"metadata.json: texts without special tokens"):
        load(save_mlm(tmp_path / "bert", "bert", METADATA | {"add_special_tokens": False}))
    with pytest.raises(UserError, match="has no dense representation"):
        check_able(load(bert), ["dense"], 128)


def test_half_precision_is_close(bert):
    fp32, bf16 = (
        load(bert, precision=p)
        .encode(Request(TEXTS, "query", 128), Wanted(["sparse"]))
        .sparse.toarray()
        for p in ("fp32", "bf16")
    )
    assert 0 < np.abs(fp32 - bf16).max() < 0.15
