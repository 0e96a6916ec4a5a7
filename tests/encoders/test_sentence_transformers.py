"""Checkpoints of sentence-transformers, PyLate and Stanford's ColBERT, held against the library and
against the definition.
"""

import json
import random
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from m3eval.commands.drilldown import open_runs
from m3eval.commands.reasons import Evidence, Explainer
from m3eval.config import builder, check, compose
from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.encoders.representations import Packed
from m3eval.errors import UserError
from m3eval.retrievers import late_interaction
from tests.conftest import SYLLABLES, save_m3, save_tokenizer, words
from tests.needs import needs

pytestmark = needs("sentence_transformers")

TEXTS = [words(i, 3 + 9 * i) for i in range(7)]
MASK = "<mask>"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A transformer of 32 dimensions with 126 positions."""
    return save_m3(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def dense(plain, tmp_path_factory):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = tmp_path_factory.mktemp("dense")
    body = Transformer(str(plain), max_seq_length=100)
    model = SentenceTransformer(
        modules=[body, Pooling(32, "mean", include_prompt=False), Normalize()],
        prompts={"query": "bada ", "document": "gula "},
        device="cpu",
    )
    model.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    source, folder = tmp_path_factory.mktemp("mlm"), tmp_path_factory.mktemp("sparse")
    save_m3(source)
    config = transformers.AutoConfig.from_pretrained(source)
    torch.manual_seed(1)
    transformers.XLMRobertaForMaskedLM(config).save_pretrained(source)
    body = Transformer(str(source), transformer_task="fill-mask")
    SparseEncoder(modules=[body, SpladePooling("max")], device="cpu").save(str(folder))
    return folder


def colbert(folder, plain, dimension=16, **settings):
    """A checkpoint as PyLate 1 to 3 writes it: markers as added tokens, a linear in 1_Dense."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(plain)
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(2)
    model = transformers.AutoModel.from_pretrained(plain)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    (folder / "1_Dense").mkdir()
    settings_of_dense = {
        "in_features": 32,
        "out_features": dimension,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "1_Dense/config.json").write_text(json.dumps(settings_of_dense))
    save_file({"linear.weight": torch.randn(dimension, 32)}, folder / "1_Dense/model.safetensors")
    modules = [
        ("", "sentence_transformers.models.Transformer"),
        ("1_Dense", "pylate.models.Dense.Dense"),
    ]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 126, "do_lower_case": False})
    )
    defaults = {
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 12,
        "document_length": 40,
    }
    defaults |= {
        "attend_to_expansion_tokens": False,
        "skiplist_words": [".", "?"],
        "model_type": "ColBERT",
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps(defaults | settings))
    return folder


def load(folder, *words):
    settings = ["encoder=sentence_transformers", "encoder.name=x", f"encoder.checkpoint={folder}"]
    setup = check(
        compose(
            *settings,
            "runtime.precision=fp32",
            "runtime.threads=1",
            "runtime.token_budget=150",
            *words,
        )
    )
    return builder(setup.cfg.encoder)(runtime=setup.runtime)


@needs("openvino")
def test_8_bits_are_refused(dense):
    with pytest.raises(UserError, match="^runtime.precision=int8 is for m3eval's own forward pass"):
        load(dense, "runtime.precision=int8")


@pytest.mark.parametrize("role", ["query", "document"])
def test_dense_vectors_are_the_librarys(dense, role):
    from sentence_transformers import SentenceTransformer

    encoder = load(dense)
    assert encoder.representations == ["dense"]
    assert (encoder.width, encoder.limit, encoder.prefixes) == (
        32,
        100,
        {"query": "bada ", "document": "gula "},
    )
    found = encoder.encode(Request(TEXTS, role, 100), Wanted(["dense"]))
    model = SentenceTransformer(str(dense), device="cpu")
    theirs = (model.encode_query if role == "query" else model.encode_document)(TEXTS)
    np.testing.assert_allclose(found.dense, theirs, atol=1e-6)
    features = model.preprocess(TEXTS, prompt=encoder.prefixes[role])
    assert found.tokens == int(features["attention_mask"].sum())
    without = load(dense, "encoder.query_prefix=''", "encoder.document_prefix=''").encode(
        Request(TEXTS, role, 100), Wanted(["dense"])
    )
    assert np.abs(found.dense - without.dense).max() > 1e-3


def test_texts_are_cut_at_the_benchmarks_limit(dense):
    from sentence_transformers import SentenceTransformer

    encoder = load(dense)
    found = encoder.encode(Request(TEXTS, "document", 20), Wanted(["dense"]))
    model = SentenceTransformer(str(dense), device="cpu")
    model.max_seq_length = 20
    np.testing.assert_allclose(found.dense, model.encode_document(TEXTS), atol=1e-6)
    full = encoder.tokenize(encoder_request(TEXTS, "document", 100)).lengths
    assert found.truncated == (full > 20).sum() > 0
    with pytest.raises(UserError, match="reads at most 100.*max_document_length=100"):
        check_able(encoder, ["dense"], 126)
    assert load(dense, "encoder.max_length=126").limit == 126
    with pytest.raises(
        UserError, match=r"max_length=500: the checkpoint has positions for 128 tokens"
    ):
        load(dense, "encoder.max_length=500")


def encoder_request(texts, role, limit):

    return Request(texts, role, limit)


def test_vectors_compared_by_cosine_have_length_one_and_others_keep_theirs(plain, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    for name in ("cosine", "dot"):
        modules = [Transformer(str(plain)), Pooling(32, "cls")]
        model = SentenceTransformer(modules=modules, similarity_fn_name=name, device="cpu")
        model.save(str(tmp_path / name))
        found = (
            load(tmp_path / name).encode(Request(TEXTS[:5], "query", 100), Wanted(["dense"])).dense
        )
        np.testing.assert_allclose(
            found, model.encode(TEXTS[:5], normalize_embeddings=name == "cosine"), atol=1e-5
        )
        assert np.allclose(np.linalg.norm(found, axis=1), 1) == (name == "cosine")
    SentenceTransformer(modules=modules, similarity_fn_name="euclidean", device="cpu").save(
        str(tmp_path / "far")
    )
    with pytest.raises(UserError, match="compares vectors by euclidean"):
        load(tmp_path / "far")


def test_sparse_weights_are_the_librarys(sparse):
    from sentence_transformers import SparseEncoder

    encoder = load(sparse)
    assert encoder.representations == ["sparse"]
    found = encoder.encode(Request(TEXTS, "document", 128), Wanted(["sparse"])).sparse
    theirs = SparseEncoder(str(sparse), device="cpu").encode_document(TEXTS).to_dense().numpy()
    np.testing.assert_allclose(found.toarray(), theirs, atol=1e-5)
    assert found.nnz and found.has_sorted_indices and found.indices.dtype == np.int32


@pytest.mark.parametrize("attend", [False, True])
def test_multi_vectors_of_a_pylate_checkpoint_are_as_defined(plain, tmp_path, attend):
    """Marker after CLS, queries filled up with [MASK] to one length, documents without punctuation,
    length 1.
    """
    from sentence_transformers import MultiVectorEncoder

    folder = colbert(tmp_path, plain, attend_to_expansion_tokens=attend)
    encoder = load(folder)
    assert (encoder.representations, encoder.width, encoder.limit) == (["multi_vector"], 16, 40)
    queries, documents = TEXTS[:3], [*TEXTS[:4], "ba. bo? be."]
    asked = encoder.encode(
        Request(queries, "query", 100), Wanted(["multi_vector"], np.float32)
    ).multi_vector
    found = encoder.encode(
        Request(documents, "document", 100), Wanted(["multi_vector"], np.float32)
    ).multi_vector
    tokenizer = transformers.AutoTokenizer.from_pretrained(plain)
    marked = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    body = transformers.AutoModel.from_pretrained(folder).eval()
    weight = load_file(folder / "1_Dense/model.safetensors")["linear.weight"]
    dots = tokenizer.convert_tokens_to_ids([".", "?"])

    def by_hand(text, role):
        limit, marker = (12, "[Q] ") if role == "query" else (40, "[D] ")
        ids = tokenizer(text, truncation=True, max_length=limit - 1)["input_ids"]
        ids = [ids[0], marked[marker], *ids[1:]]
        attention = [1] * len(ids)
        keep = [True] * len(ids)
        if role == "query":
            missing = limit - len(ids)
            ids, attention, keep = (
                ids + [tokenizer.mask_token_id] * missing,
                attention + [int(attend)] * missing,
                [True] * limit,
            )
        else:
            keep = [token not in dots for token in ids]
        with torch.no_grad():
            # The library counts positions from the ids, as RoBERTa does: a [MASK] has one although
            # nothing attends to it.
            states = body(
                torch.tensor([ids]), attention_mask=torch.tensor([attention])
            ).last_hidden_state[0]
        return torch.nn.functional.normalize(states @ weight.T, dim=-1)[torch.tensor(keep)].numpy()

    for i, text in enumerate(queries):
        np.testing.assert_allclose(asked[i], by_hand(text, "query"), atol=1e-5)
    for i, text in enumerate(documents):
        np.testing.assert_allclose(found[i], by_hand(text, "document"), atol=1e-5)
    model = MultiVectorEncoder(str(folder), device="cpu")
    theirs = model.similarity(model.encode_query(queries), model.encode_document(documents)).numpy()
    pairs = np.argwhere(np.ones(theirs.shape))
    ours = late_interaction.maxsim(
        *(Packed.of([ragged[i] for i in range(len(ragged))]) for ragged in (asked, found)), pairs
    )
    # They sum, we take the mean.
    np.testing.assert_allclose(ours.numpy().reshape(theirs.shape) * 12, theirs, atol=1e-4)


PUNCTUATION = list(string.punctuation)
PIECES = [
    "[PAD]",
    "[unused0]",
    "[unused1]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *PUNCTUATION,
    *SYLLABLES,
]
STANFORD = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_token": "[Q]",
    "doc_token": "[D]",
}
STANFORD |= {
    "query_maxlen": 12,
    "doc_maxlen": 40,
    "dim": 16,
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
}


def stanford(folder, safe=True, **metadata):
    """A checkpoint as Stanford's ColBERT saves it: bert.* and linear.weight in one file, the rest
    in artifact.metadata.
    """
    vocabulary = {
        token: i for i, token in enumerate([*PIECES, *(f"##{piece}" for piece in SYLLABLES)])
    }
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    sizes = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, initializer_range=0.3, **sizes
    )
    config.architectures = ["HF_ColBERT"]
    config.save_pretrained(folder)
    torch.manual_seed(3)
    weights = {
        f"bert.{name}": tensor
        for name, tensor in transformers.BertModel(config).state_dict().items()
    }
    weights["linear.weight"] = torch.randn(16, 32)
    if safe:
        save_file(weights, folder / "model.safetensors")
    else:
        torch.save(weights, folder / "pytorch_model.bin")
    (folder / "artifact.metadata").write_text(json.dumps(STANFORD | metadata))
    return folder, weights


@pytest.mark.parametrize(
    ("safe", "metadata"),
    [(True, {}), (False, {}), (True, {"attend_to_mask_tokens": True, "mask_punctuation": False})],
)
def test_multi_vectors_of_a_stanford_checkpoint_are_as_defined(tmp_path, safe, metadata):
    """The marker is the token after [CLS]; queries end in [MASK]s, which are seen only if the file
    says so; length 1.
    """
    folder, weights = stanford(tmp_path, safe, **metadata)
    encoder = load(folder)
    assert (encoder.representations, encoder.width, encoder.limit) == (["multi_vector"], 16, 40)
    assert {"artifact.metadata", "model.safetensors" if safe else "pytorch_model.bin"} <= set(
        encoder.identity["files"]
    )
    body = transformers.BertModel(transformers.BertConfig.from_pretrained(folder)).eval()
    body.load_state_dict(
        {
            name.removeprefix("bert."): weight
            for name, weight in weights.items()
            if name != "linear.weight"
        }
    )

    def by_hand(text, role):
        limit, marker = (
            (12, PIECES.index("[unused0]")) if role == "query" else (40, PIECES.index("[unused1]"))
        )
        pieces = [PIECES.index(piece) for piece in text.split()][: limit - 3]
        ids = [PIECES.index("[CLS]"), marker, *pieces, PIECES.index("[SEP]")]
        seen = [1] * len(ids)
        if role == "query":
            missing = limit - len(ids)
            ids += [PIECES.index("[MASK]")] * missing
            seen += [int(metadata.get("attend_to_mask_tokens", False))] * missing
        skipped = (
            [PIECES.index(piece) for piece in PUNCTUATION]
            if metadata.get("mask_punctuation", True)
            else []
        )
        keep = torch.tensor([role == "query" or token not in skipped for token in ids])
        with torch.no_grad():
            states = body(
                torch.tensor([ids]), attention_mask=torch.tensor([seen])
            ).last_hidden_state[0]
        return torch.nn.functional.normalize(states @ weights["linear.weight"].T, dim=-1)[
            keep
        ].numpy()

    rng = random.Random(0)
    texts = [
        "ba",
        "ba . bo , bu ?",
        *(" ".join(rng.choices([*SYLLABLES, "!", "-"], k=k)) for k in (3, 9, 10, 39, 60)),
    ]
    for role, limit in (("query", 12), ("document", 40)):
        found = encoder.encode(Request(texts, role, limit), Wanted(["multi_vector"], np.float32))
        assert found.truncated == sum(len(text.split()) + 3 > limit for text in texts) > 0
        for i, text in enumerate(texts):
            np.testing.assert_allclose(found.multi_vector[i], by_hand(text, role), atol=1e-5)
    assert all(
        len(encoder.encode(Request([text], "query", 12), Wanted(["multi_vector"])).multi_vector[0])
        == 12
        for text in texts
    )


def test_a_stanford_checkpoint_without_its_settings_or_weights_is_refused(tmp_path):
    """The library would take markers and lengths of its own, and draw at random what is lacking."""
    (tmp_path / "a").mkdir()
    folder, _ = stanford(tmp_path / "a")
    (folder / "artifact.metadata").unlink()
    with pytest.raises(UserError, match=r"artifact.metadata is missing.*markers"):
        load(folder)
    folder, weights = stanford(tmp_path / "a")
    for lost in ("linear.weight", "bert.encoder.layer.1.output.dense.weight"):
        save_file(
            {name: weight for name, weight in weights.items() if name != lost},
            folder / "model.safetensors",
        )
        with pytest.raises(UserError, match=lost.removeprefix("bert.")):
            load(folder)


def test_a_language_model_without_its_head_is_refused(sparse, tmp_path):
    """The library would draw one at random, and its terms with it."""
    folder = Path(shutil.copytree(sparse, tmp_path / "sparse"))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weight for name, weight in weights.items() if name != "lm_head.dense.weight"},
        folder / "model.safetensors",
    )
    with pytest.raises(
        UserError, match=r"lacks 1 weights of a XLMRobertaForMaskedLM.*lm_head.dense.weight"
    ):
        load(folder)


def test_a_query_that_is_always_filled_up_needs_the_room(plain, tmp_path):
    encoder = load(colbert(tmp_path, plain))
    assert "queries of at most 12 tokens" in encoder.engine
    with pytest.raises(UserError, match="every query 12 tokens long.*max_query_length=12 or more"):
        encoder.encode(Request(["ba"], "query", 10), Wanted(["multi_vector"]))


def test_what_does_not_say_what_it_is_is_refused(plain, dense, tmp_path):
    with pytest.raises(UserError, match=r"no modules.json.*encoder=pooled"):
        load(plain)
    other = tmp_path / "cross"
    save_tokenizer(other)
    (other / "modules.json").write_text("[]")
    (other / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    with pytest.raises(UserError, match="is a CrossEncoder"):
        load(other)
    with pytest.raises(UserError, match="has no sparse representation: its checkpoint has dense"):
        check_able(load(dense), ["sparse"], 10)


def test_the_three_stages_with_a_dense_checkpoint(dense, pipeline):
    folder = pipeline(
        "encoder=sentence_transformers", f"encoder.checkpoint={dense}", "encoder.name=st",
        "retriever=[dense]", "benchmark.text.max_query_length=100",
        "benchmark.text.max_document_length=100",
    )  # fmt: skip
    manifest = json.loads((folder / "stores/corpus-sw/manifest.json").read_text())
    assert manifest["plan"]["encoder"]["files"]["1_Pooling/config.json"]
    assert manifest["plan"]["made_with"]["engine"].startswith("sentence-transformers ")
    assert (folder / "scores/scores.json").exists()
    with pytest.raises(UserError, match="counts the encoder's tokens.*bm25 or bm25s"):
        pipeline(
            "search", "encoder=sentence_transformers", f"encoder.checkpoint={dense}",
            "encoder.name=st", "retriever=[bm25_tokens]", "benchmark.text.max_query_length=100",
            "benchmark.text.max_document_length=100",
        )  # fmt: skip


@pytest.mark.parametrize("stored", [True, False])
def test_the_three_stages_with_a_multi_vector_checkpoint(plain, pipeline, tmp_path, stored):
    """Without stored multi-vectors stage 0 computes nothing and stage 1 the candidates only; the
    runs are the same.
    """
    (tmp_path / "checkpoint").mkdir()
    checkpoint = colbert(tmp_path / "checkpoint", plain)
    settings = [
        "encoder=sentence_transformers", f"encoder.checkpoint={checkpoint}", "encoder.name=colbert",
        "retriever=[bm25s,multi_vector]", "retriever.multi_vector.inputs=[bm25s]",
        "benchmark.text.max_document_length=40", "benchmark.text.max_query_length=40",
        f"output_dir={tmp_path / 'outputs'}",
    ]  # fmt: skip
    folder = pipeline(*settings, *([] if stored else ["store.multi_vector.limit_gb=0"]))
    assert (folder / "stores/corpus-sw/shards/00000/multi_vector.npy").exists() == stored
    lines = (folder / "runs/multi_vector/sw.trec").read_text().splitlines()
    encoder = load(checkpoint)
    qid, _, docid, _, score, _ = lines[0].split()
    ids = {
        name: (folder / f"stores/{name}-sw/shards/00000/ids.txt").read_text().split()
        for name in ("corpus", "queries")
    }
    assert qid in ids["queries"] and docid in ids["corpus"] and 0 < float(score) <= 1
    assert encoder.representations == ["multi_vector"]


def test_the_site_shows_no_tokens_of_a_library_and_does_not_fail(plain, pipeline, tmp_path):
    """How texts become tokens is the library's own affair."""
    (tmp_path / "checkpoint").mkdir()
    checkpoint = colbert(tmp_path / "checkpoint", plain)
    folder = pipeline(
        "encoder=sentence_transformers", f"encoder.checkpoint={checkpoint}", "encoder.name=colbert",
        "retriever=[bm25s,multi_vector]", "retriever.multi_vector.inputs=[bm25s]",
        "benchmark.text.max_document_length=40", "benchmark.text.max_query_length=40",
    )  # fmt: skip
    runs = open_runs(folder, [])
    (task,) = runs.setup.tasks
    query, document = task.queries[0], next(task.corpus.read())
    reasons = Explainer(runs, task).explain(
        {query.qid: [document.docid]}, {query.qid: query.text}, {document.docid: document.text}
    )
    assert reasons == {(query.qid, document.docid): Evidence()}
