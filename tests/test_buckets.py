"""Folders that stand for buckets: what is put, fetched, kept and removed, and in which order.

The bucket is fsspec's, in memory; tests/faults/test_object_store.py has the stages on an S3 server.
"""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest

from m3eval import buckets, remote
from m3eval.bucket import Bucket, Origin
from m3eval.cli import run as cli
from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.files import sha256, whole_file, write_folder, write_json
from m3eval.remote import ObjectStore
from m3eval.seals import Damaged, Seal, check
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan

SHARD = "out/demo/e/stores/corpus-en/shards/00000"


@pytest.fixture
def memory(monkeypatch):
    """An empty bucket; gives the file system that it lies in."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    files.mkdir("/b")
    monkeypatch.setattr(buckets, "_buckets", {})
    return files


@pytest.fixture
def machine(memory, tmp_path):
    """A machine that writes into the bucket: machine("a", limit)."""

    def of(name: str, limit: int = 10**9) -> Bucket:
        return Bucket(Origin("memory://b", tmp_path / name, limit, frozenset({"out"})))

    return of


def written(bucket: Bucket, name: str, content: str) -> Path:
    path = bucket.here.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def names(memory) -> list[str]:
    return sorted(path.removeprefix("/b/") for path in memory.find("/b"))


@pytest.fixture
def order(monkeypatch) -> list[str]:
    """The names of what is put, in their order."""
    put: list[str] = []
    original = ObjectStore.put

    def watched(self, path, name, new):
        made = original(self, path, name, new)
        put.append(name)
        return made

    monkeypatch.setattr(ObjectStore, "put", watched)
    return put


def test_whole_files_are_put_and_nothing_else(memory, tmp_path, order):
    folder = buckets.output("memory://b/out", tmp_path, 10**9, "demo")
    encoder = folder / "demo" / "e"
    write_json(encoder / "scores" / "scores.json", {"a": 1})
    for hidden in ("scratch/1/index.json", ".part/x.json", "runs/.en.lock"):
        write_json(encoder / hidden, {})
    write_json(folder / "logs" / "run" / "config.json", {})
    with pytest.raises(ValueError, match="half"), whole_file(encoder / "runs" / "x.trec") as part:
        part.write_text("half")
        raise ValueError("half")
    write_json(tmp_path / "elsewhere.json", {})
    assert names(memory) == ["out/demo/e/scores/scores.json"]
    assert memory.cat_file("/b/out/demo/e/scores/scores.json") == b'{\n "a": 1\n}\n'


def test_a_benchmark_may_be_called_like_a_folder_of_ours(memory, tmp_path):
    folder = buckets.output("memory://b/scratch", tmp_path, 10**9, "logs")
    write_json(folder / "scratch" / "logs" / "runs" / "x.json", {})
    assert names(memory) == ["scratch/scratch/logs/runs/x.json"]


def test_a_record_is_put_behind_what_it_seals(memory, tmp_path, order):
    folder = buckets.output("memory://b/out", tmp_path, 10**9, "demo")

    def fill(shard: Path) -> None:
        for name in ("shard.json", "ids.txt", "zz.npy"):
            (shard / name).write_text(name)

    write_folder(folder / "demo/e/stores/corpus-en/shards/00000", fill)
    assert [name.rpartition("/")[2] for name in order] == ["ids.txt", "zz.npy", "shard.json"]
    # So is what an earlier process left: whatever it had come to, a manifest last.
    store = "out/demo/e/stores/corpus-en"
    for name in ("manifest.json", "cost.json", "shards/00001/shard.json", "shards/00001/a.npy"):
        (path := tmp_path / folder.parent / store / name).parent.mkdir(exist_ok=True)
        path.write_text(name)
    order.clear()
    buckets.look_again(folder / "demo")
    assert [name.removeprefix(f"{store}/") for name in order] == [
        "shards/00001/a.npy",
        "shards/00001/shard.json",
        "cost.json",
        "manifest.json",
    ]


def test_a_process_that_is_given_shards_puts_them_itself(memory, tmp_path):
    folder = buckets.output("memory://b/out", tmp_path, 10**9, "demo")
    store = StoreWriter(folder / "demo/e/stores/corpus-en", store_plan(2, "dense"))
    given = pickle.loads(pickle.dumps(store.start()))
    buckets._buckets.clear()  # as in a process of its own
    dense = np.ones((2, 4), np.float32)
    given.write(0, ["a", "b"], Representations(dense, tokens=2, truncated=0))
    assert f"{SHARD}/shard.json" in names(memory)


@pytest.mark.parametrize(
    ("name", "theirs", "survives"),
    [
        ("out/demo/e/stores/q/manifest.json", "mine", True),
        ("out/demo/e/stores/q/manifest.json", "other", False),
        (f"{SHARD}/dense.npy", "other", False),
        ("out/demo/e/runs/dense/en.json", "other", False),
        ("out/demo/e/runs/dense/en.cost.json", "other", True),
        ("out/demo/e/stores/q/cost.json", "other", True),
        ("out/demo/texts/corpus-en-1.json", "other", True),
    ],
)
def test_who_comes_second(machine, memory, name, theirs, survives):
    a, b = machine("a"), machine("b")
    b.pull("out/demo", put=True)  # there is nothing yet
    a.put(written(a, name, theirs))
    path = written(b, name, "mine")
    if survives:
        b.put(path)
        assert path.read_text() == theirs
        assert b.put_files == 0
    else:
        with pytest.raises(UserError, match=rf"memory://b/{name} was written meanwhile"):
            b.put(path)
    assert memory.cat_file(f"/b/{name}") == theirs.encode()


def test_what_changed_since_it_was_seen_is_not_replaced(machine, memory):
    name = "out/demo/e/scores/scores.json"
    a, b = machine("a"), machine("b")
    a.put(written(a, name, "first"))
    b.pull("out/demo", put=True)
    assert b.here.path(name).read_text() == "first"
    a.put(written(a, name, "second"))  # which replaces what it knows
    with pytest.raises(UserError, match="was written meanwhile"):
        b.put(written(b, name, "third"))
    b.pull("out/demo", put=True)
    assert b.here.path(name).read_text() == "second"  # what lies in the bucket counts


def test_a_put_that_failed_is_not_taken_for_the_object(machine, memory, monkeypatch):
    name = "out/demo/e/scores/scores.json"
    a = machine("a")
    a.put(written(a, name, "first"))
    path = written(a, name, "other")  # as long as the first

    def away(self, path, name, new):
        raise UserError("away")

    monkeypatch.setattr(ObjectStore, "put", away)
    with pytest.raises(UserError, match="away"):
        a.put(path)
    again = machine("a")
    again.pull("out/demo", put=False)
    assert again.here.path(name).read_text() == "first"


def test_an_object_that_was_removed_is_here_no_more(machine, memory):
    a = machine("a")
    for name in ("ids.txt", "shard.json"):
        a.put(written(a, f"{SHARD}/{name}", name))
    memory.rm(f"/b/{SHARD}", recursive=True)
    a = machine("a")
    a.pull("out/demo", put=True)
    assert not a.here.path(SHARD).exists()  # an empty folder would be a shard
    assert names(memory) == []  # and it was not put again


def test_what_was_not_put_never_leaves_this_machine(machine, memory, monkeypatch):
    a = machine("a", limit=10)
    kept = written(a, f"{SHARD}/lost.npy", "x" * 8)
    put = ObjectStore.put

    def refuse(self, path, name, new):
        if "lost" in name:
            raise UserError("away")
        return put(self, path, name, new)

    monkeypatch.setattr(ObjectStore, "put", refuse)
    with pytest.raises(UserError, match="away"):
        a.put(kept)
    os.utime(kept, ns=(0, 0))  # it was read longest ago
    for number in range(5):
        a.put(written(a, f"{SHARD}/{number}.npy", "y" * 8))
    here = sorted(path.name for path in a.here.path(SHARD).iterdir())
    assert kept.read_text() == "x" * 8
    assert len(here) <= 2
    monkeypatch.setattr(ObjectStore, "put", put)
    machine("a").pull("out/demo", put=True)
    assert f"{SHARD}/lost.npy" in names(memory)


def test_the_file_that_was_read_longest_ago_goes_first(machine, memory):
    a = machine("a", limit=25)
    for number in range(3):
        path = written(a, f"{SHARD}/{number}.npy", "y" * 8)
        os.utime(path, ns=(number, number))
        a.put(path)
    with a.opened(a.here.path(f"{SHARD}/0.npy")):
        pass
    a.put(written(a, f"{SHARD}/3.npy", "y" * 8))
    left = {path.name for path in a.here.path(SHARD).iterdir()}
    assert "0.npy" in left and "1.npy" not in left
    assert sum(path.stat().st_size for path in a.here.path(SHARD).iterdir()) <= 25


def test_many_threads_read_through_a_small_cache(machine, memory):
    a = machine("a")
    for number in range(12):
        a.put(written(a, f"{SHARD}/{number}.npy", f"{number:08d}"))
    b = machine("b", limit=20)
    b.pull("out/demo", put=True)
    wrong: list[str] = []

    def read(start: int) -> None:
        for i in range(24):
            number = (start + i) % 12
            try:
                with b.opened(b.here.path(f"{SHARD}/{number}.npy")) as path:
                    assert path.read_text() == f"{number:08d}"
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=read, args=(3 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(list(b.here.path(SHARD).iterdir())) <= 3


def test_a_hash_is_compared_when_the_file_is_fetched(memory, tmp_path):
    memory.pipe_file(f"/b/{SHARD}/a.npy", b"whole")
    good = tmp_path / "good"
    good.write_bytes(b"whole")
    folder = buckets.output("memory://b/out", tmp_path / "cache", 10**9, "demo").parent
    path, seal = folder / SHARD / "a.npy", Seal(5, sha256(good))
    check(path, seal, "Again.")
    assert not path.exists()
    with buckets.opened(path) as file:
        assert file.read_bytes() == b"whole"
    check(path, seal, "Again.")
    memory.pipe_file(f"/b/{SHARD}/a.npy", b"other")
    buckets.look_again(folder / "out")
    check(path, seal, "Again.")
    with pytest.raises(Damaged, match=r"a\.npy is damaged: its SHA-256"), buckets.opened(path):
        pass
    memory.pipe_file(f"/b/{SHARD}/a.npy", b"longer")
    buckets.look_again(folder / "out")
    with pytest.raises(Damaged, match="6 bytes, 5 were written"):
        check(path, seal, "Again.")


@pytest.mark.parametrize(
    "key", ["out/demo/../../../evil.json", "out/demo/.x.json", "out/a\\b.json"]
)
def test_keys_that_are_no_paths_of_ours_are_never_written(machine, memory, key):
    memory.pipe_file("/b/made", b"{}")
    memory.store[f"/b/{key}"] = memory.store.pop("/b/made")
    memory.pipe_file("/b/out/demo/good.json", b"{}")
    a = machine("a")
    a.pull("out", put=True)
    files = [path for path in a.here.folder.parent.rglob("*") if path.suffix == ".json"]
    assert [path.name for path in files] == ["good.json"]


def test_of_a_place_that_is_described_only_what_is_small_is_fetched(memory, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = "/b/x/demo/e"
    for name in ("runs/dense/en.trec", "scores/scores.json", "weights.bin"):
        memory.pipe_file(f"{base}/{name}", b"{}")
    memory.pipe_file(f"{base}/stores/q/shards/00000/ids.txt", b"12345")
    path = buckets.place("memory://b/x/demo/e/stores/q")
    assert path.parts[-5:] == ("x", "demo", "e", "stores", "q")
    here = {p.name for p in path.parents[1].rglob("*") if p.is_file()}
    assert here == {"en.trec", "scores.json"}  # what lies beside it, too
    assert list(buckets.sizes_below(path).values()) == [5]
    assert buckets.place("~/x") == Path("~/x").expanduser()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:///tmp/x", "file:// is no object store"),
        ("https://example.org/x", "https:// is no object store"),
        ("s3://", "names no bucket"),
        ("s3://key:verysecret@bucket/x", "holds no user, password or parameter"),
        ("s3://bucket/../x", "no part of the path may be empty or begin with a dot"),
        ("s3://bucket//x", "no part of the path may be empty or begin with a dot"),
        ("nosuch://bucket/x", "Protocol not known: nosuch"),
    ],
)
@pytest.mark.parametrize("word", ["output_dir", "path"])
def test_a_url_that_is_none_is_refused(url, says, word, memory, capsys):
    words = ["embed", "experiment=demo", f"output_dir={url}"]
    assert cli(words if word == "output_dir" else ["info", f"path={url}"]) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert says in said and "Traceback" not in said and "verysecret" not in said


def test_what_speaks_to_it_is_named_where_it_is_lacking(memory, monkeypatch, capsys):
    def absent(name):
        raise ImportError(f"Install {name} to access S3")

    monkeypatch.setattr(remote.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'm3eval\[objects\]'"):
        ObjectStore.at("s3://bucket")


@pytest.mark.parametrize(
    "words",
    [
        ["export", "format=csv", "path=x", "out=s3://b/x"],
        ["site", "out=s3://b/x"],
        ["gate", "experiment=demo", "gate.file=s3://b/x.yaml"],
        ["train", "name=x", "start=/m", "data.files=[x]", "output_dir=s3://b/x"],
    ],
)
def test_other_writers_take_folders_of_this_machine(words, capsys, memory):
    assert cli(words) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "s3://b/x" in said and "of this machine" in said
