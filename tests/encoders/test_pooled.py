"""Dense-only encoders: pooling, prefixes and limits by configuration."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from m3eval.config import check, compose
from m3eval.encoders import pooled
from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.errors import UserError
from m3eval.reference.published import numbers
from m3eval.retrievers.run import read_run
from m3eval.runtime import settle
from m3eval.stores.store import Store
from tests.conftest import save_m3, save_tokenizer, words
from tests.needs import needs

TEXTS = [words(1, 12), "ba", words(2, 30)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT with random weights: positions count from 0, unlike XLM-R's."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(1)
    save_tokenizer(folder)
    config = transformers.BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=1,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def load(folder, pooling="mean", normalize=True, query_prefix="", document_prefix=""):
    runtime = settle("cpu", "fp32", 1, 64, 100, 100)
    return pooled.load(
        "p", "P", str(folder), None, pooling, normalize, query_prefix, document_prefix, runtime
    )


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling(bert, pooling, normalize):
    tokenizer, model = (
        transformers.AutoTokenizer.from_pretrained(bert),
        transformers.AutoModel.from_pretrained(bert).eval(),
    )
    found = (
        load(bert, pooling, normalize, document_prefix="ba ")
        .encode(Request(TEXTS, "document", 64), Wanted(["dense"]))
        .dense
    )
    for i, text in enumerate(TEXTS):
        ids = tokenizer("ba " + text, truncation=True, max_length=64, return_tensors="pt")[
            "input_ids"
        ]
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0].double().numpy()
        vector = {"cls": states[0], "mean": states.mean(0), "last": states[-1]}[pooling]
        np.testing.assert_allclose(
            found[i], vector / np.linalg.norm(vector) if normalize else vector, rtol=1e-4, atol=2e-5
        )


def test_prefixes_belong_to_roles(bert):
    encoder = load(bert, query_prefix="ba: ", document_prefix="")
    same = load(bert).encode(Request(["ba: bo"], "query", 64), Wanted(["dense"])).dense
    np.testing.assert_array_equal(
        encoder.encode(Request(["bo"], "query", 64), Wanted(["dense"])).dense, same
    )
    assert not np.allclose(
        encoder.encode(Request(["bo"], "document", 64), Wanted(["dense"])).dense, same
    )


def test_limit_and_lacking_representations_are_refused(bert):
    encoder = load(bert)
    assert encoder.token_limit("document") == 64 and encoder.representations == ["dense"]
    with pytest.raises(UserError, match="reads at most 64"):
        check_able(encoder, ["dense"], 65)
    with pytest.raises(
        UserError, match=r"has no multi_vector or sparse representation: its checkpoint has dense"
    ):
        check_able(encoder, ["dense", "sparse", "multi_vector"], 64)


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a checkpoint that transformers can read"):
        load(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def mistral(tmp_path_factory):
    """A small decoder with random weights, whose tokeniser begins texts and, like Mistral's, does
    not end them.
    """
    folder = tmp_path_factory.mktemp("mistral")
    torch.manual_seed(2)
    save_tokenizer(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    begin = {"id": "<s>", "ids": [0], "tokens": ["<s>"]}
    parts = [
        [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
        [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
    ]
    single, pair = parts[0] + parts[1][:1], parts[0] + parts[1]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {"<s>": begin},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = transformers.MistralConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        sliding_window=24,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=2,
    )
    transformers.MistralModel(config).save_pretrained(folder)
    return folder


RUNTIME = settle("cpu", "fp32", 1, 64, 100, 100)
LONG = [words(seed, 2 + 4 * seed) for seed in range(12)]


def by_sentence_transformers(folder, pooling, texts, max_length):
    from sentence_transformers import SentenceTransformer, models

    transformer = models.Transformer(str(folder), max_seq_length=max_length)
    modules = [transformer, models.Pooling(32, pooling), models.Normalize()]
    return SentenceTransformer(modules=modules, device="cpu").encode(texts)


@needs("sentence_transformers")
def test_mean_pooling_equals_sentence_transformers(bert):
    found = (
        load(bert, "mean", document_prefix="passage: ")
        .encode(Request(LONG, "document", 64), Wanted(["dense"]))
        .dense
    )
    expected = by_sentence_transformers(bert, "mean", ["passage: " + text for text in LONG], 64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@needs("sentence_transformers")
def test_last_token_of_a_decoder_equals_sentence_transformers(mistral, tmp_path):
    """sentence-transformers gets a tokeniser that ends texts itself; ours is told to."""
    folder = shutil.copytree(mistral, tmp_path / "ends")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    tokenizer["post_processor"]["single"].append(end)
    tokenizer["post_processor"]["pair"].append(end)
    tokenizer["post_processor"]["special_tokens"]["</s>"] = {
        "id": "</s>",
        "ids": [2],
        "tokens": ["</s>"],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    ours = {
        name: pooled.load(
            "p",
            "P",
            str(path),
            None,
            "last",
            True,
            "Instruct: ba\nQuery: ",
            "",
            RUNTIME,
            append_eos=append,
        )
        for name, path, append in (
            ("ends", folder, True),
            ("told", mistral, True),
            ("not told", mistral, False),
        )
    }
    assert ours["told"].backbone.engine == "reference" and ours["told"].token_limit("query") == 128
    expected = by_sentence_transformers(folder, "lasttoken", LONG, 40)
    found = {
        name: encoder.encode(Request(LONG, "document", 40), Wanted(["dense"])).dense
        for name, encoder in ours.items()
    }
    np.testing.assert_allclose(found["told"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["ends"], expected, rtol=0, atol=1e-5)
    assert not np.allclose(found["not told"], expected, atol=1e-2)
    asked = by_sentence_transformers(
        folder, "lasttoken", ["Instruct: ba\nQuery: " + text for text in LONG], 40
    )
    np.testing.assert_allclose(
        ours["told"].encode(Request(LONG, "query", 40), Wanted(["dense"])).dense,
        asked,
        rtol=0,
        atol=1e-5,
    )


def test_a_cut_text_keeps_its_appended_end(mistral):
    encoder = pooled.load(
        "p", "P", str(mistral), None, "last", True, "", "", RUNTIME, append_eos=True
    )
    tokens = encoder.backbone.tokenization([words(1, 100), "ba", ""], 20)
    assert tokens.lengths.tolist() == [20, 3, 2] and tokens.truncated == 1
    assert all(ids[0] == 0 and ids[-1] == 2 for ids in tokens.ids)
    assert encoder.backbone.tokenization.edges == (1, 1)


def test_dpr_pairs_with_a_model_for_each_side(tmp_path):
    """As castorini/mdpr-question-nq and -document-nq lie on the hub; a cased vocabulary stays
    cased.
    """
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "The",
        "the",
        "cat",
        "Cat",
        *"abcdefghijklm",
        *"?.",
    ]
    sides = {
        "question": transformers.DPRQuestionEncoder,
        "document": transformers.DPRContextEncoder,
    }
    for seed, (name, kind) in enumerate(sides.items()):
        torch.manual_seed(seed)
        config = transformers.DPRConfig(
            vocab_size=len(pieces),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            initializer_range=0.3,
        )
        kind(config).save_pretrained(tmp_path / name)
        (tmp_path / name / "vocab.txt").write_text("\n".join(pieces) + "\n")
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    encoder = pooled.load(
        "p",
        "P",
        str(tmp_path / "document"),
        None,
        "cls",
        False,
        "",
        "",
        RUNTIME,
        query_checkpoint=str(tmp_path / "question"),
    )
    assert encoder.backbone.engine == "packed" and set(encoder.identity) >= {"files", "query_files"}
    texts = ["The Cat", "the cat ? a b c", "cat"]
    ids = [[2, 5, 8, 3], [2, 6, 7, pieces.index("?"), 9, 10, 11, 3], [2, 7, 3]]
    for role, name in (("query", "question"), ("document", "document")):
        assert [
            found.tolist() for found in encoder.backbone_of(role).tokenization(texts, 64).ids
        ] == ids
        model = sides[name].from_pretrained(tmp_path / name).eval()
        with torch.no_grad():
            expected = [model(torch.tensor([row])).pooler_output[0].numpy() for row in ids]
        np.testing.assert_allclose(
            encoder.encode(Request(texts, role, 64), Wanted(["dense"])).dense,
            expected,
            rtol=0,
            atol=1e-5,
        )
    path = tmp_path / "question" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"projection_dim": 16}))
    with pytest.raises(UserError, match="projection_dim=16: m3eval reads"):
        load(tmp_path / "question")


CODE = """
import torch, transformers
from pathlib import Path
Path(__file__).with_name("ran").touch()

class Model(transformers.BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.mine = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask):
        return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=self.mine(input_ids))
"""


def test_code_of_a_checkpoint_runs_only_by_leave(bert, tmp_path, monkeypatch):
    """Like jina-embeddings-v2: model_type bert, other weights, a class of its own in auto_map."""
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = shutil.copytree(bert, tmp_path / "jina")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "code.Model"}, "position_embedding_type": "alibi"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(CODE)
    weights = torch.randn(200, 32)
    save_file({"mine.weight": weights}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"lacks .* weights of a BertModel.*set encoder.trust_remote_code=true"
    ):
        load(folder).encode(Request(["ba"], "query", 64), Wanted(["dense"]))
    assert not list(tmp_path.rglob("ran"))
    trusted = pooled.load(
        "p", "P", str(folder), None, "mean", False, "", "", RUNTIME, trust_remote_code=True
    )
    assert "code.py" in trusted.identity["files"]
    ids = trusted.backbone.tokenization(["ba bo"], 64).ids[0]
    np.testing.assert_allclose(
        trusted.encode(Request(["ba bo"], "query", 64), Wanted(["dense"])).dense[0],
        weights[ids].mean(0),
        atol=1e-6,
    )
    assert list(tmp_path.rglob("ran"))


# YAML -> its row, and what its card says: pooling, whether it normalises, how the query's prefix
# begins.
CARDS = {
    "mdpr": ("mDPR", "cls", False, ""),
    "mcontriever": ("mContriever", "mean", False, ""),
    "me5_large": ("mE5-large", "mean", True, "query: "),
    "e5_mistral": ("E5-mistral-7b", "last", True, "Instruct: "),
    "jina_v2_base_en": ("jina-embeddings-v2-base-en", "mean", True, ""),
    "arctic_embed_l_v2": ("MTEB Snowflake/snowflake-arctic-embed-l-v2.0", "cls", True, "query: "),
}


@pytest.mark.parametrize("name", CARDS)
def test_checkpoints_that_are_shipped_as_settings_have_their_rows(name):
    """Each YAML names a row that is there for NarrativeQA and pools as its card says."""
    cfg = check(compose(f"encoder={name}", "retriever=[dense]")).cfg.encoder
    system, pooling, normalize, prefix = CARDS[name]
    assert (cfg.reference.systems.dense, cfg.pooling, cfg.normalize) == (system, pooling, normalize)
    assert cfg.query_prefix.startswith(prefix) and bool(cfg.query_prefix) == bool(prefix)
    assert {language for language, _ in numbers("narrativeqa", "nDCG@10", system)} == {"en"}


def test_three_stages_with_a_model_for_each_side(pipeline, m3, tmp_path):
    """Queries by the other model score as that model's vectors do, and another one makes other
    stores.
    """
    other = save_m3(tmp_path / "other", seed=5)
    words = [
        "encoder=pooled",
        f"encoder.checkpoint={m3}",
        "encoder.name=p",
        "encoder.pooling=cls",
        "retriever=[dense]",
    ]
    folder = pipeline(*words, f"encoder.query_checkpoint={other}")
    corpus, queries = (Store(folder / "stores" / name) for name in ("corpus-sw", "queries-sw"))
    documents, asked = (store.dense(np.arange(len(store))) for store in (corpus, queries))
    plain = Store(pipeline(*words, f"output_dir={tmp_path / 'plain'}") / "stores" / "queries-sw")
    assert not np.allclose(plain.dense(np.arange(len(plain))), asked, atol=0.1)
    rows = {docid: row for row, docid in enumerate(corpus.ids)}
    for q, ranking in enumerate(read_run(folder / "runs" / "dense" / "sw.trec").values()):
        expected = documents[[rows[docid] for docid in ranking.docids]] @ asked[q]
        np.testing.assert_allclose(ranking.scores, expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="query_files"):
        pipeline(*words, "embed")
