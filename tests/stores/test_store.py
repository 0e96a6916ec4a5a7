"""Stores: what goes in comes out, by block and by row; whole shards or none."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representations
from m3eval.errors import UserError
from m3eval.manifests import StoreTotals
from m3eval.stores import shard
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan

SHARDS = [5, 1, 7]
PLAN = store_plan(13, "dense", "multi_vector", "sparse", made_with={"torch": "1"})


def representations(n, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    return Representations(
        rng.normal(size=(n, 8)).astype(np.float32),
        scipy.sparse.random_array((n, 50), density=0.1, rng=rng, format="csr", dtype=np.float32),
        Ragged(
            rng.normal(size=(counts.sum(), 8)).astype(np.float16),
            np.concatenate([[0], np.cumsum(counts)]),
        ),
        tokens=10 * n,
        truncated=1,
    )


@pytest.fixture
def store(tmp_path):
    writer = StoreWriter(tmp_path / "store", PLAN)
    into = writer.start()
    parts, start = [], 0
    for i, n in enumerate(SHARDS):
        parts.append(representations(n, i))
        into.write(i, [f"d{j}" for j in range(start, start + n)], parts[-1])
        start += n
    writer.finish()
    return Store(tmp_path / "store"), parts


def test_manifest(store):
    opened, _ = store
    assert len(opened) == 13 and opened.plan == PLAN
    assert opened.manifest.totals == StoreTotals(texts=13, tokens=130, truncated=3)
    assert not (opened.path / "plan.json").exists()
    assert opened.ids == [f"d{i}" for i in range(13)]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_blocks_cover_all_rows_in_order(store, size):
    opened, parts = store
    dense = np.concatenate([part.dense for part in parts])
    sparse = scipy.sparse.vstack([part.sparse for part in parts]).toarray()
    starts = []
    for start, block in opened.dense_blocks(size):
        assert len(block) <= size and block.dtype == np.float16
        np.testing.assert_array_equal(block, dense[start : start + len(block)].astype(np.float16))
        starts += range(start, start + len(block))
    assert starts == list(range(13))
    for start, block in opened.sparse_blocks(size):
        np.testing.assert_allclose(
            block.toarray(), sparse[start : start + block.shape[0]], rtol=1e-3
        )
        assert block.dtype == np.float32


@pytest.mark.parametrize("size", [1, 3, 6, 100])
def test_columns_of_some_tokens_in_blocks_across_shards(store, size):
    opened, parts = store
    sparse = scipy.sparse.vstack([part.sparse for part in parts]).toarray().astype(np.float16)
    for tokens in (np.array([3, 4, 20, 49]), np.array([], int)):
        blocks = [(start, read(tokens)) for start, read in opened.sparse_columns(size)]
        assert [start for start, _ in blocks] == list(range(0, 13, size))
        found = scipy.sparse.vstack([block for _, block in blocks])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.toarray(), sparse[:, tokens].astype(np.float32))


def test_rows_come_in_the_order_asked_for(store):
    opened, parts = store
    rows = np.array([12, 0, 5, 5, 4])
    dense = np.concatenate([part.dense for part in parts]).astype(np.float16)
    np.testing.assert_array_equal(opened.dense(rows), dense[rows].astype(np.float32))
    sparse = scipy.sparse.vstack([part.sparse for part in parts], format="csr").toarray()
    np.testing.assert_allclose(opened.sparse(rows).toarray(), sparse[rows], rtol=1e-3)
    vectors = [part.multi_vector[i] for part in parts for i in range(len(part.multi_vector))]
    for row, found in zip(rows, opened.multi_vector(rows), strict=True):
        np.testing.assert_array_equal(found, vectors[row])
    assert opened.ids_of(rows) == {12: "d12", 0: "d0", 5: "d5", 4: "d4"}
    assert opened.rows_of(["d12", "d5"]) == {"d12": 12, "d5": 5}


def test_unknown_ids_are_refused(store):
    with pytest.raises(UserError, match=r"has no texts \['elsewhere'\]"):
        store[0].rows_of(["d1", "elsewhere"])


def test_what_the_store_lacks_is_named(tmp_path):
    writer = StoreWriter(tmp_path / "s", store_plan(5, "dense"))
    into = writer.start()
    into.write(0, list("abcde"), Representations(dense=np.ones((5, 8), np.float32)))
    writer.finish()
    with pytest.raises(UserError, match="has dense, but sparse is needed"):
        Store(tmp_path / "s").require("dense", "sparse")


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(shard, "write_record", fail)
    with pytest.raises(OSError, match="No space"):
        shard.write_shard(tmp_path / "00000", ["a"], representations(1, 0))
    assert not (tmp_path / "00000").exists()
    monkeypatch.undo()
    # Over the leftover of the failed one.
    shard.write_shard(tmp_path / "00000", ["a"], representations(1, 0))
    assert shard.read_ids(tmp_path / "00000") == ["a"]


def test_a_corpus_that_changed_while_it_was_read(tmp_path):
    writer = StoreWriter(tmp_path / "s", PLAN)
    into = writer.start()
    into.write(0, ["a"], representations(1, 0))
    with pytest.raises(UserError, match="1 texts were written, 13 were counted"):
        writer.finish()


def test_half_written_by_another_library_is_refused_finished_is_not(tmp_path, store):
    newer = replace(PLAN, made_with={"torch": "2"})
    assert StoreWriter(store[0].path, newer).finished
    StoreWriter(tmp_path / "half", PLAN).start()
    with pytest.raises(
        UserError, match=r"half-written.*\n  made_with.torch: '1' there, '2' asked for"
    ):
        StoreWriter(tmp_path / "half", newer)
    assert not StoreWriter(tmp_path / "half", PLAN).finished
