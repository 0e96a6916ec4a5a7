"""Stores with every kind of file, and what can happen to a file on a disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representations, TermVectors
from m3eval.manifests import DenseStorage, StorePlan
from m3eval.stores.writer import StoreWriter
from tests.records import store_plan

SIZES = [5, 1, 7]  # texts of each shard
PLAN = store_plan(13, "dense", "multi_vector", "sparse", "term_vectors", made_with={"torch": "1"})


def flip(path: Path) -> None:
    """Another bit in the middle of the file, where arrays have their numbers."""
    content = bytearray(path.read_bytes())
    content[-1 - len(content) // 4] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


DAMAGE = [flip, truncate, empty, remove]


def representations(n: int, seed: int, windows: bool = False) -> Representations:
    """Random vectors of n texts, of every kind."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 4, n))])
    rows = offsets[-1] if windows else n
    return Representations(
        rng.normal(size=(rows, 8)).astype(np.float32),
        scipy.sparse.random_array((n, 50), density=0.3, rng=rng, format="csr", dtype=np.float32),
        Ragged(rng.normal(size=(offsets[-1], 8)).astype(np.float16), offsets),
        tokens=10 * n,
        truncated=1,
        windows=offsets if windows else None,
        term_vectors=TermVectors(
            rng.integers(0, 50, offsets[-1]).astype(np.int32),
            rng.normal(size=(offsets[-1], 8)).astype(np.float16),
            offsets,
        ),
    )


def complete(
    writer: StoreWriter,
    stop: int | None = None,
    make: Callable[..., Representations] = representations,
) -> list[int]:
    """Writes the shards that are missing, as stage 0 does, and returns their numbers.

    Args:
        writer: of a store of `SIZES`.
        stop: the number of a shard before which the process dies; None: the store is finished.
        make: gives the vectors of n texts by the number of their shard.
    """
    into, made, start = writer.start(), [], 0
    for number, n in enumerate(SIZES):
        if number == stop:
            return made
        if not into.has(number):
            into.write(number, [f"d{i}" for i in range(start, start + n)], make(n, number))
            made.append(number)
        start += n
    writer.finish()
    return made


def write_store(path: Path, plan: StorePlan = PLAN, windows: bool = False) -> Path:
    """A finished store with every kind of file."""

    def make(n: int, seed: int) -> Representations:
        return representations(n, seed, windows)

    complete(StoreWriter(path, plan), make=make)
    return path


def compressed(kind: Literal["float32", "int8", "binary"]) -> StorePlan:
    """A plan whose dense vectors are stored otherwise than as float16."""
    return store_plan(
        13, *PLAN.representations, made_with={"torch": "1"}, dense=DenseStorage(None, kind)
    )


def unseal(store: Path) -> None:
    """The store as an early version would have written it."""
    for path in (*store.glob("shards/*/shard.json"), store / "manifest.json"):
        content = json.loads(path.read_text())
        # `plan` is a shard's digest of it, and all that a manifest is about.
        added = ("sealed", "files", "plan") if path.name == "shard.json" else ("sealed", "records")
        for key in added:
            del content[key]
        path.write_text(json.dumps(content, indent=1) + "\n")


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copy(store: Path, to: Path) -> Path:
    return Path(shutil.copytree(store, to))
