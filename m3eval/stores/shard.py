"""The arrays of one shard, a folder of plain .npy files that can be memory-mapped.

ids.txt                     one id per line
dense.npy                   [n, d] float16; [windows of all texts, d] where there is the next file
dense.offsets.npy           [n + 1] int64        the windows of text i are offsets[i]:offsets[i + 1]; absent: i
sparse.indptr.npy           [n + 1] int32        CSR: the terms of text i are indptr[i]:indptr[i + 1]
sparse.tokens.npy           [nnz] int32
sparse.weights.npy          [nnz] float16
multi_vector.npy            [sum of tokens, d] float16
multi_vector.offsets.npy    [n + 1] int64
shard.json                  texts, tokens, truncated texts, vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representations
from m3eval.files import read_json, write_folder, write_json


def write_shard(path: Path, ids: Sequence[str], found: Representations) -> None:
    """Writes a shard; the folder appears whole or not at all.

    Dense rows, sparse weights and vectors are rounded to float16 here and nowhere else.
    """
    summary: dict[str, Any] = {"texts": len(ids), "tokens": found.tokens, "truncated": found.truncated}

    def fill(folder: Path) -> None:
        (folder / "ids.txt").write_text("".join(f"{key}\n" for key in ids), encoding="utf-8")
        if found.dense is not None:
            np.save(folder / "dense.npy", found.dense.astype(np.float16))
            if found.windows is not None:
                np.save(folder / "dense.offsets.npy", found.windows.astype(np.int64))
        if found.sparse is not None:
            summary["vocabulary"] = found.sparse.shape[1]
            np.save(folder / "sparse.indptr.npy", found.sparse.indptr.astype(np.int32))
            np.save(folder / "sparse.tokens.npy", found.sparse.indices.astype(np.int32))
            np.save(folder / "sparse.weights.npy", found.sparse.data.astype(np.float16))
        if found.multi_vector is not None:
            np.save(folder / "multi_vector.npy", found.multi_vector.vectors.astype(np.float16))
            np.save(folder / "multi_vector.offsets.npy", found.multi_vector.offsets.astype(np.int64))
        write_json(folder / "shard.json", summary)

    write_folder(path, fill)


def summary(path: Path) -> dict[str, int]:
    """What `shard.json` says."""
    return read_json(path / "shard.json")


def read_ids(path: Path) -> list[str]:
    """The ids of a shard, in the order of its rows."""
    return (path / "ids.txt").read_text(encoding="utf-8").split("\n")[:-1]


def dense(path: Path) -> np.ndarray:
    """[n, d] float16, memory-mapped."""
    return np.load(path / "dense.npy", mmap_mode="r")


def has_windows(path: Path) -> bool:
    """Whether texts may have several dense rows."""
    return (path / "dense.offsets.npy").exists()


def windows(path: Path) -> Ragged:
    """[windows of all texts, d] float16, memory-mapped, and offsets."""
    return Ragged(dense(path), np.load(path / "dense.offsets.npy"))


def sparse(path: Path) -> scipy.sparse.csr_array:
    """[n, vocabulary] float32 weights; token ids and row pointers stay memory-mapped."""
    weights = np.load(path / "sparse.weights.npy", mmap_mode="r").astype(np.float32)
    tokens, indptr = (np.load(path / f"sparse.{part}.npy", mmap_mode="r") for part in ("tokens", "indptr"))
    return scipy.sparse.csr_array((weights, tokens, indptr), shape=(len(indptr) - 1, summary(path)["vocabulary"]))


def sparse_rows(path: Path, rows: np.ndarray) -> scipy.sparse.csr_array:
    """[m, vocabulary] float32: some rows, reading only their own terms."""
    weights, tokens, indptr = (np.load(path / f"sparse.{part}.npy", mmap_mode="r") for part in ("weights", "tokens", "indptr"))
    starts, lengths = indptr[rows].astype(np.int64), indptr[rows + 1] - indptr[rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    where = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return scipy.sparse.csr_array(
        (weights[where].astype(np.float32), tokens[where], offsets.astype(np.int32)),
        shape=(len(rows), summary(path)["vocabulary"]),
    )


def multi_vector(path: Path) -> Ragged:
    """[sum of tokens, d] float16, memory-mapped, and offsets."""
    return Ragged(np.load(path / "multi_vector.npy", mmap_mode="r"), np.load(path / "multi_vector.offsets.npy"))
