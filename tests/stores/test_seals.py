"""Every file of a store is as it was written, or the shard is named, and repaired to the byte."""

import errno
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from m3eval.errors import UserError
from m3eval.files import sha256
from m3eval.seals import Damaged, Seal, check, check_size
from m3eval.stores import shard
from m3eval.stores.shard_writer import ShardWriter
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter, recover, take_place
from tests.records import store_plan
from tests.stores.damage import (
    DAMAGE,
    PLAN,
    complete,
    compressed,
    copy,
    empty,
    files_of,
    flip,
    remove,
    representations,
    truncate,
    unseal,
    write_store,
)

FILES = [
    "dense.npy",
    "ids.txt",
    "multi_vector.npy",
    "multi_vector.offsets.npy",
    "shard.json",
    "sparse.indptr.npy",
    "sparse.tokens.npy",
    "sparse.weights.npy",
    "term_vectors.npy",
    "term_vectors.offsets.npy",
    "term_vectors.terms.npy",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with every kind of file; copy it before changing it."""
    return write_store(tmp_path_factory.mktemp("stores") / "store")


def use(path):
    """What stage 1 does before it computes."""
    store = Store(path)
    store.require(*store.plan.representations)
    return store


def test_a_whole_store_is_used(whole):
    assert sorted(path.name for path in (whole / "shards/00001").iterdir()) == FILES
    store = use(whole)
    assert store.is_sealed and len(store) == 13
    assert StoreWriter(whole, PLAN).finished


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_a_file_is_named_and_just_its_shard_made_again(whole, tmp_path, name, damage):
    path = copy(whole, tmp_path / "store")
    digest = Store(path).digest
    damage(path / "shards/00001" / name)
    for attempt in (use, lambda path: StoreWriter(path, PLAN)):
        with pytest.raises(UserError, match=rf"shards/00001/{name} .*m3eval embed repair=true"):
            attempt(path)
    assert complete(StoreWriter(path, PLAN, repair=True)) == [1]
    assert files_of(path) == files_of(whole)
    assert use(path).digest == digest


@pytest.mark.parametrize("kind", ["float32", "int8", "binary", "windows"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_files_of_other_dense_vectors_are_sealed_too(tmp_path, kind, damage):
    plan = PLAN if kind == "windows" else compressed(kind)
    path = write_store(tmp_path / "store", plan, windows=kind == "windows")
    names = {"int8": "dense.scales", "binary": "dense.dimensions", "windows": "dense.offsets"}
    name = names.get(kind, "dense")
    damage(path / f"shards/00002/{name}.npy")
    with pytest.raises(Damaged, match=rf"00002/{name}.npy is damaged"):
        use(path)


@pytest.mark.parametrize("kept", [1, 0, 0.5])
def test_a_missing_shard_is_named(whole, tmp_path, kept):
    """The folder is gone, or empty, or half of it is there."""
    path = copy(whole, tmp_path / "store")
    folder = path / "shards/00002"
    for file in sorted(folder.iterdir())[int(kept * len(FILES)) :] if kept != 1 else []:
        file.unlink()
    if kept == 1:
        shutil.rmtree(folder)
    for attempt in (use, lambda path: StoreWriter(path, PLAN)):
        with pytest.raises(UserError, match="shards/00002"):
            attempt(path)
    assert complete(StoreWriter(path, PLAN, repair=True)) == [2]
    assert files_of(path) == files_of(whole)


def test_several_damaged_shards_are_counted_and_made_together(whole, tmp_path):
    path = copy(whole, tmp_path / "store")
    flip(path / "shards/00000/dense.npy")
    remove(path / "shards/00002/ids.txt")
    with pytest.raises(UserError, match=r"2 of 3 shards of .* are damaged \(00000, 00002\)"):
        StoreWriter(path, PLAN)
    assert complete(StoreWriter(path, PLAN, repair=True)) == [0, 2]
    assert files_of(path) == files_of(whole)


def test_shards_exchanged_between_stores_or_places_are_seen(whole, tmp_path):
    """Each file of such a shard is as it was written, but not here."""
    path = copy(whole, tmp_path / "store")
    other = store_plan(13, *PLAN.representations, made_with={"torch": "2"})
    theirs = write_store(tmp_path / "other", other)
    shutil.rmtree(path / "shards/00001")
    shutil.copytree(theirs / "shards/00001", path / "shards/00001")
    with pytest.raises(UserError, match=r"00001/shard.json is damaged: the store's manifest knows"):
        use(path)


@pytest.mark.parametrize("damage", DAMAGE[:3])
def test_a_damaged_manifest_is_written_again_from_its_shards(whole, tmp_path, damage):
    path = copy(whole, tmp_path / "store")
    damage(path / "manifest.json")
    for attempt in (Store, lambda path: StoreWriter(path, PLAN)):
        with pytest.raises(UserError, match=r"manifest.json .*repair=true"):
            attempt(path)
    with pytest.raises(UserError, match="shards/00000 is of other texts, another encoder"):
        StoreWriter(path, replace(PLAN, made_with={"torch": "2"}), repair=True)
    assert complete(StoreWriter(path, PLAN, repair=True)) == []
    assert files_of(path) == files_of(whole)


def test_every_number_of_a_manifest_is_held(whole, tmp_path):
    """Also where the file is still such a record."""
    path = copy(whole, tmp_path / "store")
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"tokens": 130', '"tokens": 131'))
    with pytest.raises(Damaged, match="what it says is not what was written"):
        Store(path)


def test_a_store_without_manifest_is_gone_on_with_by_its_own_plan_only(whole, tmp_path):
    path = copy(whole, tmp_path / "store")
    remove(path / "manifest.json")
    with pytest.raises(UserError, match="half-written, and what is there was made otherwise"):
        StoreWriter(path, replace(PLAN, shard_size=7))
    assert complete(StoreWriter(path, PLAN)) == []
    assert files_of(path) == files_of(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_shard_of_a_half_written_store_is_made_again(whole, tmp_path, name):
    path = tmp_path / "store"
    complete(StoreWriter(path, PLAN), stop=2)
    flip(path / "shards/00000" / name)
    writer = StoreWriter(path, PLAN)
    assert [broken.name for broken in writer.found.broken] == ["00000"] and writer.resumed == 1
    assert complete(writer) == [0, 2]
    assert files_of(path) == files_of(whole)


def test_repaired_by_other_versions_to_other_vectors(whole, tmp_path):
    """The same bytes are welcome from any version; others are not mixed with what is there."""
    newer = replace(PLAN, made_with={"torch": "2"})
    path = copy(whole, tmp_path / "store")
    flip(path / "shards/00001/dense.npy")
    assert complete(StoreWriter(path, newer, repair=True)) == [1]
    assert files_of(path) == files_of(whole)
    flip(path / "shards/00001/dense.npy")

    def other(n, seed):
        return representations(n, seed + 1)

    with pytest.raises(UserError, match=r"by other versions of libraries.*overwrite=true"):
        complete(StoreWriter(path, newer, repair=True), make=other)
    with pytest.raises(UserError, match="the store's manifest knows another"):
        use(path)
    shutil.rmtree(path / "shards/00001")
    assert complete(StoreWriter(path, PLAN, repair=True), make=other) == [1]
    assert use(path).digest != Store(whole).digest


def test_a_store_of_an_early_version_is_read_and_sealed_as_it_stands(whole, tmp_path):
    path = copy(whole, tmp_path / "store")
    unseal(path)
    before = files_of(path)
    store = use(path)
    assert not store.is_sealed
    writer = StoreWriter(path, PLAN)
    assert writer.finished and not writer.is_sealed
    assert files_of(path) == before  # looking changes nothing
    writer.finish()
    assert files_of(path) == files_of(whole)
    assert StoreWriter(path, PLAN).is_sealed


def test_a_half_written_store_of_an_early_version_is_gone_on_with(whole, tmp_path):
    path = tmp_path / "store"
    complete(StoreWriter(path, PLAN), stop=2)
    content = json.loads((path / "shards/00000/shard.json").read_text())
    for key in ("plan", "files", "sealed"):
        del content[key]
    (path / "shards/00000/shard.json").write_text(json.dumps(content))
    assert complete(StoreWriter(path, PLAN)) == [2]
    assert files_of(path) == files_of(whole)


@pytest.mark.parametrize("damage", [truncate, empty, remove])
@pytest.mark.parametrize("name", FILES)
def test_a_store_that_is_not_sealed_shows_what_does_not_fit(whole, tmp_path, name, damage):
    path = copy(whole, tmp_path / "store")
    unseal(path)
    damage(path / "shards/00001" / name)
    with pytest.raises(UserError, match="shards/00001"):
        use(path)


@pytest.mark.parametrize(
    "name", ["sparse.indptr", "sparse.tokens", "multi_vector.offsets", "term_vectors.offsets"]
)
def test_pointers_lead_nowhere_else(whole, tmp_path, name):
    """Whichever byte is another: refused, or an array that may be read; never a crash."""
    path = copy(whole, tmp_path / "store")
    unseal(path)
    file = path / f"shards/00000/{name}.npy"
    content, refused = file.read_bytes(), 0
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        try:
            store = use(path)
        except UserError:
            refused += 1
            continue
        rows = np.arange(len(store))
        assert store.sparse(rows).sum() >= 0
        assert len(store.multi_vector(rows)) == 13 and store.term_vectors(rows)
    assert refused > len(content) / 2


def test_sizes_are_compared_when_a_store_is_opened(whole, tmp_path):
    """Not only where a hash is asked for."""
    path = copy(whole, tmp_path / "store")
    truncate(path / "shards/00001/multi_vector.npy")
    with pytest.raises(Damaged, match=r"multi_vector.npy is damaged: .* bytes, .* were written"):
        Store(path)


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path, monkeypatch):
    file, hashed = tmp_path / "file", []
    file.write_bytes(b"abcd")
    seal = Seal.of(file)
    monkeypatch.setattr("m3eval.seals.sha256", lambda path: hashed.append(path) or seal.sha256)
    check(file, seal, "")
    check(file, seal, "")
    assert hashed == [file]
    file.write_bytes(b"abce")
    check(file, seal, "")
    assert len(hashed) == 2
    monkeypatch.undo()
    os.utime(file, (1, 1))
    with pytest.raises(Damaged, match="its SHA-256 is"):
        check(file, seal, "")
    file.unlink()
    file.mkdir()
    with pytest.raises(Damaged, match="it is no file"):
        check_size(file, seal, "")


def test_what_the_disk_does_not_give_back_is_damage_too(whole, tmp_path, monkeypatch):
    """So that the shard can be made again, on another part of the disk."""
    path = copy(whole, tmp_path / "store")

    def broken(file):
        if file.name == "dense.npy" and file.parent.name == "00001":
            raise OSError(errno.EIO, "Input/output error", str(file))
        return sha256(file)

    monkeypatch.setattr("m3eval.seals.sha256", broken)
    with pytest.raises(Damaged, match=r"00001/dense.npy is damaged: it cannot be read \(Input"):
        use(path)
    writer = StoreWriter(path, PLAN, repair=True)
    monkeypatch.undo()
    assert complete(writer) == [1] and files_of(path) == files_of(whole)


# -- overwrite ------------------------------------------------------------------------------------

LONGER = replace(PLAN, texts=replace(PLAN.texts, max_length=999))


@pytest.mark.parametrize("plan", [PLAN, LONGER])
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_store_stays_until_the_one_that_replaces_it_is_whole(whole, tmp_path, plan, stop):
    path = copy(whole, tmp_path / "stores" / "store")
    assert complete(StoreWriter(path, plan, overwrite=True), stop=stop) == list(range(stop))
    assert files_of(path) == files_of(whole) and use(path)
    assert StoreWriter(path, PLAN).finished  # without overwrite=true nothing is to be done
    # The same command goes on.
    writer = StoreWriter(path, plan, overwrite=True)
    assert writer.resumed == stop
    assert complete(writer) == list(range(stop, 3))
    assert files_of(path) == files_of(write_store(tmp_path / "expected", plan))
    assert list(path.parent.iterdir()) == [path]
    assert complete(StoreWriter(path, plan, overwrite=True)) == [0, 1, 2]  # asked for once more


def test_another_overwrite_than_was_begun_starts_anew(whole, tmp_path):
    path = copy(whole, tmp_path / "stores" / "store")
    complete(StoreWriter(path, PLAN, overwrite=True), stop=2)
    assert complete(StoreWriter(path, LONGER, overwrite=True)) == [0, 1, 2]
    assert use(path).plan == LONGER and list(path.parent.iterdir()) == [path]


def test_a_half_written_store_is_kept_until_another_replaces_it(tmp_path):
    path = tmp_path / "stores" / "store"
    complete(StoreWriter(path, PLAN), stop=2)
    half = files_of(path)
    complete(StoreWriter(path, LONGER, overwrite=True), stop=1)
    assert files_of(path) == half
    assert complete(StoreWriter(path, LONGER, overwrite=True)) == [1, 2]
    assert use(path).plan == LONGER and list(path.parent.iterdir()) == [path]


def test_overwriting_a_half_written_store_of_the_same_plan_goes_on(whole, tmp_path):
    path = tmp_path / "stores" / "store"
    complete(StoreWriter(path, PLAN, overwrite=True), stop=2)
    assert complete(StoreWriter(path, PLAN, overwrite=True)) == [2]
    assert files_of(path) == files_of(whole)


def test_a_damaged_store_can_be_replaced(whole, tmp_path):
    path = copy(whole, tmp_path / "stores" / "store")
    empty(path / "manifest.json")
    assert complete(StoreWriter(path, PLAN, overwrite=True)) == [0, 1, 2]
    assert files_of(path) == files_of(whole)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_between_the_renames(whole, tmp_path, monkeypatch, renames):
    path = copy(whole, tmp_path / "stores" / "store")
    writer, done = StoreWriter(path, LONGER, overwrite=True), []
    monkeypatch.setattr("m3eval.stores.writer.take_place", lambda files: done.append(files))
    complete(writer)
    (files,) = done
    if renames >= 1:
        path.rename(files.replaced)
    if renames == 2:
        files.replacement.folder.rename(path)
    monkeypatch.undo()
    recover(files)
    if renames == 0:  # the old store still stands, and the same command ends what it began
        assert files_of(path) == files_of(whole)
        assert complete(StoreWriter(path, LONGER, overwrite=True)) == []
    assert use(path).plan == LONGER
    assert list(path.parent.iterdir()) == [path]


def test_an_old_store_comes_back_where_nothing_can_replace_it(whole, tmp_path):
    path = copy(whole, tmp_path / "stores" / "store")
    files = StoreWriter(path, PLAN).found.files
    path.rename(files.replaced)
    recover(files)
    assert files_of(path) == files_of(whole)


def test_what_a_killed_swap_left_is_no_obstacle(whole, tmp_path):
    path = copy(whole, tmp_path / "stores" / "store")
    files = StoreWriter(path, PLAN).found.files
    copy(whole, files.replaced)
    copy(whole, files.replacement.folder)
    take_place(files)
    assert list(path.parent.iterdir()) == [path]


# -- two at once ----------------------------------------------------------------------------------


def test_who_comes_second_with_the_same_shard_is_content(tmp_path):
    """As where two machines share a file system that knows no locks."""
    first, second = (StoreWriter(tmp_path / "store", PLAN) for _ in range(2))
    writers: list[ShardWriter] = [first.start(), second.start()]
    for into in writers:
        into.write(0, list("abcde"), representations(5, 0))
    record = shard.record(tmp_path / "store/shards/00000")
    assert record.texts == 5 and len(list((tmp_path / "store/shards").iterdir())) == 1
    with pytest.raises(UserError, match=r"00000 was written by another process .* dense.npy is"):
        writers[1].write(0, list("abcde"), representations(5, 1))
    other = ShardWriter(writers[1].files, LONGER)
    with pytest.raises(UserError, match=r"shard.json is not the same in both"):
        other.write(0, list("abcde"), representations(5, 0))
    assert len(list((tmp_path / "store/shards").iterdir())) == 1
