"""Compressed dense stores: what is read back, how large it is, and that search is exact."""

import json

import numpy as np
import pytest

from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.m3 import load
from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.manifests import DenseStorage
from m3eval.retrievers.run import read_run
from m3eval.runtime import settle
from m3eval.stores.compression import Compression
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.conftest import words
from tests.records import store_plan


def vectors(n=23, d=20, seed=0):
    found = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return (
        found
        / np.linalg.norm(found, axis=1, keepdims=True)
        * np.linspace(0.5, 3, n, dtype=np.float32)[:, None]
    )


def by_hand(rows, dimensions, kind):
    """The definition, one number at a time."""
    result = []
    for row in rows.astype(np.float64):
        d = dimensions or len(row)
        short = row[:d] * (np.sqrt((row**2).sum()) / np.sqrt((row[:d] ** 2).sum()))
        if kind == "int8":
            scale = max(abs(x) for x in short) / 127
            short = [round(x / scale) * scale for x in short]
        if kind == "binary":
            short = [(1 if x > 0 else -1) / d**0.5 for x in short]
        result.append(short)
    return np.array(result)


def write(path, rows, dense, size=10):
    storage = DenseStorage(**dense) if dense else None
    plan = store_plan(len(rows), "dense", shard_size=size, dense=storage)
    writer = StoreWriter(path, plan)
    into = writer.start()
    for i, start in enumerate(range(0, len(rows), size)):
        part = rows[start : start + size]
        into.write(
            i, [f"d{j}" for j in range(start, start + len(part))], Representations(dense=part)
        )
    return writer.finish()


@pytest.mark.parametrize("dimensions", [None, 20, 12, 1])
@pytest.mark.parametrize("kind", ["float16", "float32", "int8", "binary"])
def test_what_is_read_is_what_is_defined(dimensions, kind, tmp_path):
    rows = vectors()
    manifest = write(tmp_path / "store", rows, {"dimensions": dimensions, "type": kind})
    store = Store(tmp_path / "store")
    expected = by_hand(rows, dimensions, kind)
    tolerance = {"float16": 2e-3, "float32": 1e-6, "int8": 1e-6, "binary": 1e-7}[kind]
    if kind == "int8":  # a number half way between two codes may go to either
        tolerance = np.abs(expected).max() / 127 * 1.01
        assert (np.abs(store.dense(np.arange(23)) - expected) > 1e-5).mean() < 0.01
    np.testing.assert_allclose(store.dense(np.arange(23)), expected, atol=tolerance)
    some = np.array([22, 3, 3, 10])
    np.testing.assert_array_equal(store.dense(some), store.dense(np.arange(23))[some])
    blocks = [(start, block) for start, block in store.dense_blocks(7)]
    assert [start for start, _ in blocks] == [0, 7, 10, 17, 20]
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in blocks]).astype(np.float32),
        store.dense(np.arange(23)),
    )
    each = Compression(dimensions, kind).bytes(20)
    extra = 8 * 3 if kind == "binary" else 0  # the number of dimensions, once a shard
    assert manifest.bytes == {"dense": 23 * each + extra}


def test_the_worst_that_rounding_does_to_a_score():
    """An inner product with int8 vectors is off by at most half a step of each number."""
    rows, query = vectors(200, 64, 1), vectors(1, 64, 2)[0]
    arrays = Compression(None, "int8").arrays(rows)
    read = arrays["dense"].astype(np.float32) * arrays["dense.scales"][:, None]
    bound = np.abs(query).sum() * arrays["dense.scales"] / 2
    assert (np.abs(read @ query - rows @ query) <= bound * 1.001).all()
    assert np.abs(arrays["dense"]).max(axis=1).tolist() == [127] * 200


def test_a_vector_of_zeros_stays_finite():
    zeros = np.zeros((2, 8), np.float32)
    for kind in ("float16", "float32", "int8", "binary"):
        assert all(
            np.isfinite(array).all() for array in Compression(4, kind).arrays(zeros).values()
        )
    assert not Compression(None, "int8").arrays(zeros)["dense"].any()


def test_unfit_settings_are_refused(pipeline):
    with pytest.raises(
        UserError, match=r"store.dense.type=int4: takes float16, float32, int8 or binary"
    ):
        pipeline("embed", "store.dense.type=int4")
    with pytest.raises(
        UserError, match=r"store.dense.dimensions=33: the encoder's vectors have 32"
    ):
        pipeline("embed", "store.dense.dimensions=33")
    with pytest.raises(UserError, match=r"dimensions=0: takes a whole number from 1"):
        pipeline("embed", "store.dense.dimensions=0")


@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_search_is_the_inner_product_with_what_is_read(kind, pipeline, capsys):
    words = [
        f"store.dense.type={kind}",
        "store.dense.dimensions=24",
        "retriever=[dense]",
        "runtime.search_block=7",
    ]
    folder = pipeline(*words)
    out = capsys.readouterr().out
    assert (
        f"corpus-sw: dense vectors {kind}, 24 dimensions: " in out
        and "(64 whole as float16)" in out
    )
    corpus, queries = Store(folder / "stores/corpus-sw"), Store(folder / "stores/queries-sw")
    assert queries.plan.dense == DenseStorage(24, "float16")

    def read(path):
        stored = np.load(path / "dense.npy")
        if kind == "int8":
            return stored * np.load(path / "dense.scales.npy")[:, None]
        return (np.unpackbits(stored, axis=1) * 2.0 - 1) / 24**0.5

    documents = np.concatenate([read(path) for path in corpus.shards])
    asked = np.concatenate([np.load(path / "dense.npy") for path in queries.shards]).astype(
        np.float64
    )
    run = read_run(folder / "runs/dense/sw.trec")
    for qid, row in zip(queries.ids, asked, strict=True):
        exact = dict(zip(corpus.ids, documents @ row, strict=True))
        assert len(run[qid].docids) == len(exact)
        np.testing.assert_allclose(
            run[qid].scores, [exact[docid] for docid in run[qid].docids], atol=1e-5
        )
    manifest = json.loads((folder / "runs/dense/sw.json").read_text())
    assert manifest["compression"]["corpus-sw"] == {"dimensions": 24, "type": kind}
    report = json.loads((folder / "scores/scores.json").read_text())
    assert f"; dense vectors {kind}, 24 dimensions" in json.dumps(report)
    with pytest.raises(
        UserError, match=rf"is over dense vectors {kind}, 24 dimensions, .*: give the same"
    ):
        pipeline("evaluate", "retriever=[dense]")


def encoded(m3, store, role, texts):
    """The encoder's own float32 vectors of a store's texts, in its order, without a store."""
    limit = store.plan.texts.max_length
    one = Request([texts[key] for key in store.ids], role, limit)
    encoder = load("m3", "M3", str(m3), None, settle("cpu", "fp32", 1, 4096, 100, 100))
    return encoder.encode(one, Wanted(["dense"], np.float32)).dense


def test_float32_rounds_nothing(pipeline, m3, corpus_of, capsys):
    """Scores are brute force's to 1e-6, and those of a float16 store are not."""
    documents = [(f"d{i}", words(i, 12)) for i in range(30)]
    questions = [(f"q{i}", words(100 + i, 5)) for i in range(8)]
    root = corpus_of({"xx": documents}, {"xx": questions})
    given = ["benchmark=folder", "benchmark.name=own", f"benchmark.root={root}", "languages=[xx]"]
    given += ["retriever=[dense]", "representations=[dense]", "runtime.search_block=7"]
    worst, bytes_of = {}, {}
    for kind in ("float16", "float32"):
        folder = pipeline(*given, f"store.dense.type={kind}", f"benchmark.name={kind}")
        corpus, queries = Store(folder / "stores/corpus-xx"), Store(folder / "stores/queries-xx")
        stored = [np.load(path / "dense.npy") for path in (*corpus.shards, *queries.shards)]
        assert {part.dtype.name for part in stored} == {kind}
        bytes_of[kind] = corpus.manifest.bytes["dense"]
        run = read_run(folder / "runs/dense/xx.trec")
        exact = encoded(m3, queries, "query", dict(questions)).astype(np.float64) @ (
            encoded(m3, corpus, "document", dict(documents)).astype(np.float64).T
        )
        row = {docid: i for i, docid in enumerate(corpus.ids)}
        off = [
            abs(score - exact[i, row[docid]])
            for i, qid in enumerate(queries.ids)
            for docid, score in zip(run[qid].docids, run[qid].scores, strict=True)
        ]
        assert len(off) == 8 * 30
        worst[kind] = max(off)
    assert worst["float32"] < 1e-6 and worst["float16"] > 2e-5, worst
    assert (
        bytes_of["float32"]
        == 2 * bytes_of["float16"]
        == 30 * Compression(None, "float32").bytes(32)
    )
    assert "corpus-xx: dense vectors float32, all dimensions: 128 bytes a text" in (
        capsys.readouterr().out
    )
    exactly = [*given, "benchmark.name=float32", "store.dense.type=float32"]
    pipeline(*exactly)
    assert "found finished" in capsys.readouterr().out
    for stage, said in (
        ("embed", "'type': 'float32'} there, None asked for"),
        ("search", "store.dense.type: 'float32' there, None asked for"),
        (
            "evaluate",
            "is over dense vectors float32, all dimensions, and store.dense asks for whole",
        ),
    ):
        with pytest.raises(UserError, match=said):
            pipeline(stage, *given, "benchmark.name=float32")
    report = (folder / "scores/scores.md").read_text()
    assert "dense vectors float32, all dimensions" in report


def test_a_float32_store_is_resumed_and_repaired_to_the_byte(pipeline, capsys):
    given = ["embed", "representations=[dense]", "store.dense.type=float32"]
    given += ["runtime.shard_size=20"]
    folder = pipeline(*given)
    shards = folder / "stores/corpus-sw/shards"
    whole = {path.name: (path / "dense.npy").read_bytes() for path in shards.iterdir()}
    damaged = bytearray(whole["00001"])
    damaged[-1] ^= 1
    (shards / "00001/dense.npy").write_bytes(damaged)
    with pytest.raises(UserError, match=r"00001/dense.npy is damaged"):
        pipeline("search", "retriever=[dense]", "store.dense.type=float32")
    pipeline(*given, "repair=true")
    assert "to the bytes of before" in capsys.readouterr().out
    assert {path.name: (path / "dense.npy").read_bytes() for path in shards.iterdir()} == whole


def test_stores_kept_otherwise_are_not_mixed(pipeline):
    pipeline("embed")
    with pytest.raises(
        UserError, match=r"otherwise.*\n  store.dense.type: None there, 'int8' asked"
    ):
        pipeline("search", "store.dense.type=int8")
    with pytest.raises(
        UserError,
        match=r"otherwise:\n  dense: None there, {'dimensions': None, 'type': 'int8'} asked for",
    ):
        pipeline("embed", "store.dense.type=int8")
