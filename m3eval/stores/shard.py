"""The arrays of one shard, a folder of plain .npy files that can be memory-mapped.

ids.txt                     one id per line
dense.npy                   [n, d] float16, or int8 with dense.scales.npy, or bits: see compression.py
dense.offsets.npy           [n + 1] int64        the windows of text i are dense rows offsets[i]:offsets[i + 1]; absent: row i
sparse.indptr.npy           [n + 1] int32        CSR: the terms of text i are indptr[i]:indptr[i + 1]
sparse.tokens.npy           [nnz] int32
sparse.weights.npy          [nnz] float16
multi_vector.npy            [sum of tokens, d] float16
multi_vector.offsets.npy    [n + 1] int64
term_vectors.terms.npy      [sum of terms] int32, ascending within a text
term_vectors.npy            [sum of terms, d] float16, one vector per term
term_vectors.offsets.npy    [n + 1] int64
shard.json                  texts, tokens, truncated texts, vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representation, Representations, TermVectors
from m3eval.files import read_json, write_folder, write_json
from m3eval.stores.compression import Compression, Vectors, read

WHOLE = Compression()


def write_shard(
    path: Path, ids: Sequence[str], found: Representations, dense: Compression = WHOLE
) -> None:
    """Writes a shard; the folder appears whole or not at all.

    Dense rows (unless `dense` says otherwise), sparse weights and vectors are rounded to float16 here and nowhere else.
    """
    summary: dict[str, Any] = {
        "texts": len(ids),
        "tokens": found.tokens,
        "truncated": found.truncated,
    }

    def fill(folder: Path) -> None:
        (folder / "ids.txt").write_text("".join(f"{key}\n" for key in ids), encoding="utf-8")
        if found.dense is not None:
            for name, array in dense.arrays(found.dense).items():
                np.save(folder / f"{name}.npy", array)
            if found.windows is not None:
                np.save(folder / "dense.offsets.npy", found.windows.astype(np.int64))
        if found.sparse is not None:
            summary["vocabulary"] = found.sparse.shape[1]
            np.save(folder / "sparse.indptr.npy", found.sparse.indptr.astype(np.int32))
            np.save(folder / "sparse.tokens.npy", found.sparse.indices.astype(np.int32))
            np.save(folder / "sparse.weights.npy", found.sparse.data.astype(np.float16))
        if found.multi_vector is not None:
            np.save(folder / "multi_vector.npy", found.multi_vector.vectors.astype(np.float16))
            np.save(
                folder / "multi_vector.offsets.npy", found.multi_vector.offsets.astype(np.int64)
            )
        if found.term_vectors is not None:
            np.save(folder / "term_vectors.terms.npy", found.term_vectors.terms.astype(np.int32))
            np.save(folder / "term_vectors.npy", found.term_vectors.vectors.astype(np.float16))
            np.save(
                folder / "term_vectors.offsets.npy", found.term_vectors.offsets.astype(np.int64)
            )
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


def has_windows(path: Path) -> bool:
    """Whether texts may have several dense rows."""
    return (path / "dense.offsets.npy").exists()


def windows(path: Path) -> Ragged:
    """[windows of all texts, d] float16, memory-mapped, and offsets."""
    return Ragged(dense(path), np.load(path / "dense.offsets.npy"))


def sparse(path: Path, start: int, stop: int) -> scipy.sparse.csr_array:
    """[m, vocabulary] float32: the rows from `start` to before `stop`, or to the last; token ids stay memory-mapped."""
    weights, tokens, indptr = _sparse(path, start, stop)
    return scipy.sparse.csr_array(
        (weights.astype(np.float32), tokens, indptr), (len(indptr) - 1, summary(path)["vocabulary"])
    )


def sparse_columns(path: Path, start: int, stop: int, wanted: np.ndarray) -> scipy.sparse.csr_array:
    """[m, w] float32: the columns of the w distinct tokens `wanted` of such rows; no other weight is read or converted."""
    weights, tokens, indptr = _sparse(path, start, stop)
    column_of = np.full(summary(path)["vocabulary"], -1, np.int32)
    column_of[wanted] = np.arange(len(wanted))
    columns = column_of[tokens]
    kept = np.flatnonzero(columns >= 0)
    cuts = np.searchsorted(kept, indptr).astype(np.int32)
    return scipy.sparse.csr_array(
        (weights[kept].astype(np.float32), columns[kept], cuts), (len(indptr) - 1, len(wanted))
    )


def sparse_rows(path: Path, rows: np.ndarray) -> scipy.sparse.csr_array:
    """[m, vocabulary] float32: some rows, reading only their own terms."""
    weights, tokens, indptr = _mapped(path)
    starts, lengths = indptr[rows].astype(np.int64), indptr[rows + 1] - indptr[rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    where = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return scipy.sparse.csr_array(
        (weights[where].astype(np.float32), tokens[where], offsets.astype(np.int32)),
        shape=(len(rows), summary(path)["vocabulary"]),
    )


def multi_vector(path: Path) -> Ragged:
    """[sum of tokens, d] float16, memory-mapped, and offsets."""
    return Ragged(
        np.load(path / "multi_vector.npy", mmap_mode="r"),
        np.load(path / "multi_vector.offsets.npy"),
    )


def term_vectors(path: Path) -> TermVectors:
    """Terms and vectors [sum of terms, d] float16, memory-mapped, and offsets."""
    terms, vectors = (
        np.load(path / name, mmap_mode="r")
        for name in ("term_vectors.terms.npy", "term_vectors.npy")
    )
    return TermVectors(terms, vectors, np.load(path / "term_vectors.offsets.npy"))


def _mapped(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, tokens and row pointers, memory-mapped."""
    weights, tokens, indptr = (
        np.load(path / f"sparse.{part}.npy", mmap_mode="r")
        for part in ("weights", "tokens", "indptr")
    )
    return weights, tokens, indptr


def _sparse(path: Path, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, tokens and row pointers of some consecutive rows, memory-mapped."""
    weights, tokens, indptr = _mapped(path)
    cuts = indptr[start : stop + 1]
    return weights[cuts[0] : cuts[-1]], tokens[cuts[0] : cuts[-1]], cuts - cuts[0]
