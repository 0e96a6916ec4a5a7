"""Is a shard as it was written? Shards of early versions are not sealed: do their files fit?

A store that is not sealed cannot show a wrong number. But its row pointers must not lead out of its
arrays, where numpy and scipy would read what is not theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from m3eval import seals
from m3eval.buckets import opened
from m3eval.errors import UserError
from m3eval.files import sha256
from m3eval.layout import StoreFiles
from m3eval.manifests import ShardRecord, StoreManifest
from m3eval.records import read
from m3eval.seals import Damaged
from m3eval.stores import shard
from m3eval.stores.arrays import load_array

REMEDY = "`m3eval embed repair=true` with the settings of stage 0 makes just what is damaged again."
IDS = "ids"  # beside the representations, what a shard's files belong to


def written(files: StoreFiles, manifest: StoreManifest) -> Iterator[tuple[Path, int, str | None]]:
    """The shards of a finished store: folder, number of texts, and the record's SHA-256 or None."""
    digests = manifest.records or [None] * len(manifest.shards)
    for number, (texts, digest) in enumerate(zip(manifest.shards, digests, strict=True)):
        yield files.shard(number), texts, digest


def open_shard(path: Path, texts: int | None = None, digest: str | None = None) -> ShardRecord:
    """What a shard holds; its files are there and have their sizes.

    Args:
        path: its folder.
        texts: how many it must have; None: that is not known.
        digest: the SHA-256 of its record; None: that is not known.

    Raises:
        UserError: something is missing, or is not as it was written.
    """
    record = read(path / shard.RECORD, ShardRecord, REMEDY)
    if digest is not None and sha256(path / shard.RECORD) != digest:
        raise Damaged(path / shard.RECORD, "the store's manifest knows another", REMEDY)
    if texts is not None and record.texts != texts:
        found = f"it has {record.texts:,} texts, the store's manifest says {texts:,}"
        raise Damaged(path / shard.RECORD, found, REMEDY)
    for name, seal in record.files.items():
        seals.check_size(path / name, seal, REMEDY)
    return record


def check_content(
    path: Path, record: ShardRecord, parts: Collection[str], fetch: bool = False
) -> None:
    """Compares the hashes of a shard's files; where it is not sealed, whether they fit together.

    Args:
        path: its folder.
        record: what it holds.
        parts: the representations that are looked at, and `IDS`.
        fetch: what lies in an object store only is looked at now, not once it is read.

    Raises:
        Damaged: names a file that is not as it was written.
    """
    for name, seal in record.files.items():
        if name.partition(".")[0] in parts:
            seals.check(path / name, seal, REMEDY)
            if fetch:
                with opened(path / name) as file:
                    seals.check(file, seal, REMEDY)
    if record.files:
        return
    for part in parts:
        try:
            FITS[part](path, record)
        except Exception as error:  # numpy has many kinds for what is no such array
            raise Damaged(path, f"its {part} cannot be used ({error})", REMEDY) from error


def check_shard(
    path: Path,
    parts: Collection[str],
    texts: int | None = None,
    digest: str | None = None,
    fetch: bool = False,
) -> ShardRecord:
    """Both of the above: `open_shard`, then the content of its ids and of the parts."""
    record = open_shard(path, texts, digest)
    check_content(path, record, {IDS, *parts}, fetch)
    return record


def said(problems: Mapping[Path, UserError], path: Path, shards: int) -> UserError:
    """One error for the damaged shards of a store."""
    first = next(iter(problems.values()))
    if len(problems) == 1:
        return first
    names = [shard.name for shard in problems]
    numbers = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return UserError(
        f"{len(problems)} of {shards} shards of {path} are damaged ({numbers}). The first: {first}"
    )


def _ids(path: Path, record: ShardRecord) -> None:
    _require(len(shard.read_ids(path)) == record.texts, "ids.txt has another number of ids")


def _dense(path: Path, record: ShardRecord) -> None:
    stored = load_array(path / "dense.npy", "r")
    _require(stored.ndim == 2, "dense.npy is no matrix")
    known = stored.dtype in (np.float16, np.float32, np.int8, np.uint8)
    _require(known, f"dense.npy has the type {stored.dtype}")
    if stored.dtype == np.int8:
        scales = load_array(path / "dense.scales.npy", "r")
        _require(scales.shape == stored.shape[:1], "dense.scales.npy has another number of rows")
    if stored.dtype == np.uint8:
        dimensions = int(load_array(path / "dense.dimensions.npy"))
        _require(-(-dimensions // 8) == stored.shape[1], "dense.dimensions.npy has another number")
    if shard.has_windows(path):
        _pointers(path / "dense.offsets.npy", record.texts, len(stored))
    else:
        _require(len(stored) == record.texts, "dense.npy has another number of rows")


def _sparse(path: Path, record: ShardRecord) -> None:
    tokens = load_array(path / "sparse.tokens.npy", "r")
    weights = load_array(path / "sparse.weights.npy", "r")
    _require(tokens.dtype == np.int32 and tokens.ndim == 1, "sparse.tokens.npy has another type")
    _require(weights.dtype == np.float16, "sparse.weights.npy has another type")
    _require(weights.shape == tokens.shape, "there are more weights than tokens, or fewer")
    _pointers(path / "sparse.indptr.npy", record.texts, len(tokens))
    if len(tokens):
        within = tokens.min() >= 0 and tokens.max() < (record.vocabulary or 0)
        _require(bool(within), "sparse.tokens.npy has tokens that are none")


def _multi_vector(path: Path, record: ShardRecord) -> None:
    vectors = load_array(path / "multi_vector.npy", "r")
    _require(vectors.dtype == np.float16 and vectors.ndim == 2, "multi_vector.npy has another type")
    _pointers(path / "multi_vector.offsets.npy", record.texts, len(vectors))


def _term_vectors(path: Path, record: ShardRecord) -> None:
    vectors = load_array(path / "term_vectors.npy", "r")
    terms = load_array(path / "term_vectors.terms.npy", "r")
    _require(vectors.dtype == np.float16 and vectors.ndim == 2, "term_vectors.npy has another type")
    _require(terms.shape == vectors.shape[:1], "there are more terms than vectors, or fewer")
    _pointers(path / "term_vectors.offsets.npy", record.texts, len(vectors))


FITS = {
    IDS: _ids,
    "dense": _dense,
    "sparse": _sparse,
    "multi_vector": _multi_vector,
    "term_vectors": _term_vectors,
}


def _pointers(path: Path, texts: int, length: int) -> None:
    """Raises ValueError unless row pointers begin at 0, never fall, and end at `length`."""
    pointers = load_array(path, "r")
    kind = np.issubdtype(pointers.dtype, np.integer) and pointers.shape == (texts + 1,)
    _require(kind, f"{path.name} has another number of rows")
    ends = pointers[0] == 0 and pointers[-1] == length
    _require(bool(ends and (np.diff(pointers) >= 0).all()), f"{path.name} leads out of the arrays")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
