"""Cross-encoders, held against sentence-transformers and transformers; random checkpoints."""

import gzip
import json
import random
import re

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from m3eval.encoders import cross_encoder
from m3eval.encoders.engine import pairs
from m3eval.encoders.engine.pairs import PairFrame
from m3eval.errors import UserError
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import read_run
from m3eval.runtime import settle
from tests.conftest import save_m3, save_tokenizer, words
from tests.needs import needs

PAIRS = [(words(i, 2 + i % 4), words(100 + i, 3 + 5 * i)) for i in range(16)] + [
    (words(7, 60), words(8, 9)),
    ("", words(9, 3)),
]


def save(folder, kind, labels=1, seed=3):
    """A random classifier over a random transformer."""
    if kind == "xlm-roberta":
        save_m3(folder)
        config = transformers.AutoConfig.from_pretrained(folder, num_labels=labels)
        torch.manual_seed(seed)
        transformers.XLMRobertaForSequenceClassification(config).save_pretrained(folder)
        return folder
    save_tokenizer(folder)
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        **sizes,
        max_position_embeddings=130,
        type_vocab_size=2,
        pad_token_id=1,
        num_labels=labels,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for part in tokenizer["post_processor"]["pair"][
        3:
    ]:  # as BERT has it: the second text is of type 1
        next(iter(part.values()))["type_id"] = 1
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def xlm_r(tmp_path_factory):
    return save(tmp_path_factory.mktemp("reranker"), "xlm-roberta")


def scores(folder, pairs=PAIRS, max_length=64, **runtime):
    machine = {
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "token_budget": 200,
        "shard_size": 9,
        "search_block": 9,
    }
    model = cross_encoder.load(str(folder), None, max_length, settle(**machine | runtime))
    found = np.full(len(pairs), np.nan, np.float32)
    for rows, values in model.scores(model.framed(pairs)):
        found[rows] = values
    return found


@needs("sentence_transformers")
@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_scores_are_those_of_sentence_transformers(kind, engine, tmp_path):
    import sentence_transformers as library

    folder = save(tmp_path, kind)
    model = library.CrossEncoder(
        str(folder), max_length=64, device="cpu", activation_fn=torch.nn.Identity()
    )
    ours = scores(folder, engine=engine)
    assert np.ptp(ours) > 0.1
    np.testing.assert_allclose(ours, model.predict(PAIRS), atol=1e-5)
    theirs = model.predict(PAIRS, activation_fn=torch.nn.Sigmoid())
    np.testing.assert_allclose(maths.sigmoid(ours), theirs, atol=1e-5)


@needs("openvino")
def test_8_bits_are_near_where_our_forward_pass_computes_and_refused_elsewhere(xlm_r, tmp_path):
    exact, found = scores(xlm_r), scores(xlm_r, precision="int8")
    assert np.corrcoef(exact, found)[0, 1] > 0.99
    assert not np.array_equal(exact, found)
    with pytest.raises(UserError, match="for m3eval's own forward pass .* leave it out"):
        scores(save(tmp_path, "bert"), precision="int8")


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_pairs_are_cut_and_framed_as_the_tokenizers_library_does(kind, tmp_path):
    """Random lengths on both sides of the limit, odd and even; the library is asked for each."""
    tokenizer = Tokenizer.from_file(str(save(tmp_path, kind) / "tokenizer.json"))
    frame, rng = PairFrame.of(tokenizer), random.Random(0)
    for limit in (16, 17, 24, 33):
        texts = [
            (words(i, rng.randint(0, 20)), words(99 + i, rng.randint(0, 20))) for i in range(60)
        ]
        framed = frame.put_around(texts, tokenizer, limit)
        assert 0 < framed.cut < len(texts)
        tokenizer.enable_truncation(limit, strategy="longest_first")
        whole = 0
        for pair, ids, types in zip(texts, framed.ids, framed.types, strict=True):
            expected = tokenizer.encode(*pair)
            assert (ids.tolist(), types.tolist()) == (expected.ids, expected.type_ids)
            whole += not expected.overflowing
        assert framed.cut == len(texts) - whole


def test_two_long_texts_are_cut_before_their_pieces_are_paired(xlm_r):
    """The library makes a pair of every piece with every other: millions of them here."""
    assert np.isfinite(scores(xlm_r, [(words(1, 3000), words(2, 3000))], max_length=7)).all()


def test_scores_are_those_of_transformers_one_pair_at_a_time(xlm_r):
    tokenizer = transformers.AutoTokenizer.from_pretrained(xlm_r)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(xlm_r).eval()
    ours = scores(xlm_r)
    for pair, score in zip(PAIRS, ours, strict=True):
        with torch.no_grad():
            inputs = tokenizer(
                *pair, truncation="longest_first", max_length=64, return_tensors="pt"
            )
            assert abs(float(model(**inputs).logits[0, 0]) - score) < 1e-5
    assert scores(xlm_r, PAIRS, 20).tolist() != ours.tolist()


def test_the_type_of_a_token_counts_where_a_checkpoint_knows_it(tmp_path):
    save(tmp_path, "bert")
    before = scores(tmp_path)
    cross_encoder.load.cache_clear()
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    for part in tokenizer["post_processor"]["pair"]:
        next(iter(part.values()))["type_id"] = 0
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert np.abs(scores(tmp_path) - before).max() > 1e-3


def test_several_packs_slices_and_threads_and_no_pair_at_all(xlm_r, monkeypatch):
    np.testing.assert_allclose(
        scores(xlm_r, threads=2, token_budget=4096), scores(xlm_r, token_budget=1), atol=1e-5
    )
    before = scores(xlm_r)
    monkeypatch.setattr(pairs, "TOKENIZED_AT_ONCE", 100)
    np.testing.assert_array_equal(scores(xlm_r), before)
    assert scores(xlm_r, []).shape == (0,)


def test_what_is_no_cross_encoder_is_refused(xlm_r, m3, tmp_path):
    with pytest.raises(UserError, match="gives 2 numbers for a pair"):
        scores(save(tmp_path / "two", "xlm-roberta", labels=2))
    for length in (-1, 0, 5, 200):
        with pytest.raises(UserError, match=f"max_length={length}: .* choose 6 to 128"):
            scores(xlm_r, max_length=length)
    config = json.loads((m3 / "config.json").read_text()) | {
        "id2label": {"0": "x"},
        "label2id": {"x": 0},
    }
    for file in m3.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match="lacks .* weights of a XLMRobertaForSequenceClassification, .*classifier"
    ):
        scores(tmp_path)


def test_a_run_is_reranked_and_made_again_when_the_checkpoint_changed(
    pipeline, mirror, tmp_path, capsys
):
    folder = save(tmp_path / "reranker", "xlm-roberta")
    settings = [
        "retriever=[bm25s,cross_encoder]",
        "retriever.cross_encoder.inputs=[bm25s]",
        "retriever.cross_encoder.depth=7",
        f"retriever.cross_encoder.checkpoint={folder}",
        "retriever.cross_encoder.max_length=64",
        "benchmark.text.joint=' '",
    ]
    out = pipeline("search", "evaluate", *settings)
    assert re.search(
        r"cross_encoder sw: \d+ of \d+ pairs were longer than 64 tokens and were cut",
        capsys.readouterr().out,
    )
    before, after = (
        read_run(out / "runs" / name / "sw.trec") for name in ("bm25s", "cross_encoder")
    )
    documents = {}
    for path in (mirror / "miracl/miracl-corpus/miracl-corpus-v1.0-sw").iterdir():
        with gzip.open(path, "rt") as file:
            rows = map(json.loads, file)
            documents |= {row["docid"]: f"{row['title']} {row['text']}" for row in rows}
    topics = (
        (mirror / "miracl/miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv")
        .read_text()
        .splitlines()
    )
    queries = dict(line.split("\t") for line in topics)
    assert {qid: set(ranking.docids) for qid, ranking in after.items()} == {
        qid: set(ranking.docids[:7]) for qid, ranking in before.items()
    }
    for qid, ranking in after.items():
        expected = scores(folder, [(queries[qid], documents[docid]) for docid in ranking.docids])
        np.testing.assert_allclose(ranking.scores, expected, atol=1e-5)
        assert (np.diff(ranking.scores) <= 0).all()
    manifest = json.loads((out / "runs/cross_encoder/sw.json").read_text())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(manifest["model"]["files"])
    pipeline("search", *settings)
    assert json.loads((out / "runs/cross_encoder/sw.json").read_text()) == manifest
    pipeline("search", *settings, "retriever.cross_encoder.activation=sigmoid")
    again = read_run(out / "runs/cross_encoder/sw.trec")
    for qid, ranking in again.items():
        np.testing.assert_allclose(ranking.scores, maths.sigmoid(after[qid].scores), atol=1e-6)
    save(folder, "xlm-roberta", seed=4)
    cross_encoder.load.cache_clear()
    cross_encoder._hashes.cache_clear()
    pipeline("search", *settings)
    other = read_run(out / "runs/cross_encoder/sw.trec")
    assert any(np.abs(other[qid].scores - after[qid].scores).max() > 1e-3 for qid in after)


@needs("openvino")
def test_a_run_that_was_reranked_in_8_bits_says_so_and_stays_apart(pipeline, tmp_path, capsys):
    words = [
        "retriever=[bm25s,cross_encoder,dense_bm25]",
        "retriever.cross_encoder.inputs=[bm25s]",
        f"retriever.cross_encoder.checkpoint={save(tmp_path / 'reranker', 'xlm-roberta')}",
        "retriever.cross_encoder.max_length=64",
        "retriever.dense_bm25.inputs=[bm25s,cross_encoder]",
        *(f"~retriever.dense_bm25.weights.{name}" for name in ("dense", "bm25")),
        *(f"+retriever.dense_bm25.weights.{name}=1" for name in ("bm25s", "cross_encoder")),
    ]
    said = "cross_encoder, dense_bm25: computed in 8 bits (runtime.precision=int8)"
    pipeline("search", *words, "runtime.precision=int8")
    out = pipeline("evaluate", *words)
    assert said in (out / "scores/scores.md").read_text()
    capsys.readouterr()
    pipeline("search", "evaluate", *words)
    assert "found finished" in (printed := capsys.readouterr().out) and said not in printed
    assert json.loads((out / "runs/cross_encoder/sw.json").read_text())["model"].keys() == {"files"}
