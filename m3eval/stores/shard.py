"""The arrays of one shard, a folder of plain .npy files that can be memory-mapped.

ids.txt                     one id per line
dense.npy                   [n, d] float16, or int8 with dense.scales.npy, or bits: see compression.py
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

from m3eval.encoders.representations import Ragged, Representation, Representations
from m3eval.files import read_json, write_folder, write_json
from m3eval.stores.compression import Compression, Vectors, read

WHOLE = Compression()


def write_shard(path: Path, ids: Sequence[str], found: Representations, dense: Compression = WHOLE) -> None:
    """Writes a shard; the folder appears whole or not at all.

    Dense rows (unless `dense` says otherwise), sparse weights and vectors are rounded to float16 here and nowhere else.
    """
    summary: dict[str, Any] = {"texts": len(ids), "tokens": found.tokens, "truncated": found.truncated}

    def fill(folder: Path) -> None:
        (folder / "ids.txt").write_text("".join(f"{key}\n" for key in ids), encoding="utf-8")
        if found.dense is not None:
            for name, array in dense.arrays(found.dense).items():
                np.save(folder / f"{name}.npy", array)
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


def size(path: Path, representation: Representation) -> int:
    """Bytes of one representation's arrays."""
    return sum(np.load(file, mmap_mode="r").nbytes for file in path.glob(f"{representation}*.npy"))


def dense(path: Path) -> Vectors:
    """[n, d], memory-mapped; rows are float16, or float32 where they are kept as something else."""
    return read(path)


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
