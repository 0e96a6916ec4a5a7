"""The arrays of one shard: a folder of plain .npy files, which can be memory-mapped.

ids.txt                     one id per line
dense.npy                   [n, d] float16 or float32; int8 with dense.scales.npy; or bits: see
                            compression.py
dense.offsets.npy           [n + 1] int64: the windows of text i are the dense rows
                            offsets[i]:offsets[i + 1]; absent where text i is row i
sparse.indptr.npy           [n + 1] int32: CSR, the terms of text i are indptr[i]:indptr[i + 1]
sparse.tokens.npy           [nnz] int32
sparse.weights.npy          [nnz] float16
multi_vector.npy            [sum of tokens, d] float16
multi_vector.offsets.npy    [n + 1] int64
term_vectors.terms.npy      [sum of terms] int32, ascending within a text
term_vectors.npy            [sum of terms, d] float16, one vector per term
term_vectors.offsets.npy    [n + 1] int64
shard.json                  texts, tokens, truncated texts, vocabulary; the digest of the store's
                            plan; size and SHA-256 of every file above
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3eval.buckets import elsewhere, opened
from m3eval.content import Content
from m3eval.encoders.representations import Ragged, Representations, TermVectors, ragged_range
from m3eval.files import write_folder
from m3eval.lazy import scipy
from m3eval.manifests import Representation, ShardRecord
from m3eval.records import read, write
from m3eval.seals import Seal, Seals
from m3eval.stores import compression
from m3eval.stores.arrays import HEADER, load_array, save_array
from m3eval.stores.compression import Compression, Vectors

UNCOMPRESSED = Compression()
RECORD = "shard.json"


def write_shard(
    path: Path,
    ids: Sequence[str],
    encoded: Representations,
    dense: Compression = UNCOMPRESSED,
    plan: str | None = None,
    content: Content | None = None,
) -> None:
    """Writes a shard; the folder appears whole or not at all.

    Dense rows (unless `dense` says otherwise), sparse weights and vectors are rounded to float16
    here and nowhere else.

    Args:
        path: its folder.
        ids: of n texts.
        encoded: what the encoder made of them.
        dense: how dense vectors are stored.
        plan: the digest of the store's plan.
        content: what the texts are; None: nobody knows.

    Raises:
        UserError: another process wrote something else there meanwhile.
    """

    def fill(folder: Path) -> None:
        (folder / "ids.txt").write_text("".join(f"{key}\n" for key in ids), encoding="utf-8")
        for name, array in _arrays(encoded, dense).items():
            save_array(folder / f"{name}.npy", array)
        vocabulary = None if encoded.sparse is None else encoded.sparse.shape[1]
        record = ShardRecord(
            texts=len(ids),
            tokens=encoded.tokens,
            truncated=encoded.truncated,
            vocabulary=vocabulary,
            content=content,
            plan=plan,
            files=seals_of(folder),
        )
        write_record(folder, record)

    write_folder(path, fill)


def _arrays(encoded: Representations, dense: Compression) -> dict[str, np.ndarray]:
    """The files of a shard, by name without `.npy`."""
    arrays: dict[str, np.ndarray] = {}
    if encoded.dense is not None:
        arrays |= dense.arrays(encoded.dense)
        if encoded.windows is not None:
            arrays["dense.offsets"] = encoded.windows.astype(np.int64)
    if (matrix := encoded.sparse) is not None:
        arrays["sparse.indptr"] = matrix.indptr.astype(np.int32)
        arrays["sparse.tokens"] = matrix.indices.astype(np.int32)
        arrays["sparse.weights"] = matrix.data.astype(np.float16)
    if (tokens := encoded.multi_vector) is not None:
        arrays["multi_vector"] = tokens.vectors.astype(np.float16)
        arrays["multi_vector.offsets"] = tokens.offsets.astype(np.int64)
    if (terms := encoded.term_vectors) is not None:
        arrays["term_vectors.terms"] = terms.terms.astype(np.int32)
        arrays["term_vectors"] = terms.vectors.astype(np.float16)
        arrays["term_vectors.offsets"] = terms.offsets.astype(np.int64)
    return arrays


def bytes_of(encoded: Representations, dense: Compression = UNCOMPRESSED) -> dict[str, int]:
    """Bytes of the arrays that a shard of these texts would have, by file."""
    return {name: array.nbytes for name, array in _arrays(encoded, dense).items()}


def record(path: Path) -> ShardRecord:
    """What `shard.json` says."""
    return read(path / RECORD, ShardRecord)


def write_record(path: Path, record: ShardRecord) -> None:
    """Writes `shard.json`, sealed."""
    write(path / RECORD, record)


def seals_of(path: Path) -> Seals:
    """The seals of a shard's ids and arrays as they are now."""
    names = ["ids.txt", *sorted(file.name for file in path.glob("*.npy"))]
    return {name: Seal.of(path / name) for name in names}


def read_ids(path: Path) -> list[str]:
    """The ids of a shard, in the order of its rows."""
    with opened(path / "ids.txt") as file:
        return file.read_text(encoding="utf-8").split("\n")[:-1]


def ids_at(path: Path, rows: np.ndarray) -> list[str]:
    """The ids of some rows. No string is made of any other."""
    with opened(path / "ids.txt") as file:
        content = file.read_bytes()
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))  # [n]
    starts = np.concatenate([[0], ends[:-1] + 1])[rows]
    bounds = zip(starts.tolist(), ends[rows].tolist(), strict=True)
    return [content[start:end].decode() for start, end in bounds]


def size(there: ShardRecord, representation: Representation) -> int:
    """Bytes of the numbers in one representation's arrays, of a sealed shard."""
    files = there.files.items()
    return sum(seal.bytes - HEADER for name, seal in files if name.startswith(representation))


def dense(path: Path) -> Vectors:
    """[n, d], memory-mapped; rows are float16, or float32 where they are stored as others."""
    return compression.open_vectors(path)


def has_windows(path: Path) -> bool:
    """Whether texts may have several dense rows."""
    offsets = path / "dense.offsets.npy"
    return offsets.exists() or elsewhere(offsets) is not None


def windows(path: Path) -> tuple[Vectors, np.ndarray]:
    """[windows of all texts, d], memory-mapped, and offsets [n + 1]."""
    return dense(path), load_array(path / "dense.offsets.npy")


def sparse(path: Path, start: int, stop: int) -> scipy.sparse.csr_array:
    """[m, vocabulary] float32: the rows from `start` to before `stop`, or to the last.

    Token ids stay memory-mapped.
    """
    weights, tokens, indptr = _sparse(path, start, stop)
    shape = (len(indptr) - 1, _vocabulary(path))
    return scipy.sparse.csr_array((weights.astype(np.float32), tokens, indptr), shape)


def sparse_columns(path: Path, start: int, stop: int, wanted: np.ndarray) -> scipy.sparse.csr_array:
    """[m, w] float32: the columns of the w distinct tokens `wanted` of such rows.

    No other weight is read or converted.
    """
    weights, tokens, indptr = _sparse(path, start, stop)
    column_of = np.full(_vocabulary(path), -1, np.int32)  # [vocabulary]
    column_of[wanted] = np.arange(len(wanted))
    columns = column_of[tokens]
    places = np.flatnonzero(columns >= 0)
    cuts = np.searchsorted(places, indptr).astype(np.int32)
    shape = (len(indptr) - 1, len(wanted))
    return scipy.sparse.csr_array(
        (weights[places].astype(np.float32), columns[places], cuts), shape
    )


def sparse_rows(path: Path, rows: np.ndarray) -> scipy.sparse.csr_array:
    """[m, vocabulary] float32: some rows, reading only their own terms."""
    weights, tokens, indptr = _mapped(path)
    starts, lengths = indptr[rows].astype(np.int64), indptr[rows + 1] - indptr[rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    places = ragged_range(starts, lengths)
    shape = (len(rows), _vocabulary(path))
    return scipy.sparse.csr_array(
        (weights[places].astype(np.float32), tokens[places], offsets), shape
    )


def multi_vector(path: Path) -> Ragged:
    """[sum of tokens, d] float16, memory-mapped, and offsets."""
    vectors = load_array(path / "multi_vector.npy", "c")  # torch: none that is read-only
    return Ragged(vectors, load_array(path / "multi_vector.offsets.npy"))


def term_vectors(path: Path) -> TermVectors:
    """Terms and vectors [sum of terms, d] float16, memory-mapped, and offsets."""
    terms = load_array(path / "term_vectors.terms.npy", "r")
    vectors = load_array(path / "term_vectors.npy", "r")
    return TermVectors(terms, vectors, load_array(path / "term_vectors.offsets.npy"))


def _vocabulary(path: Path) -> int:
    """The number of tokens that sparse vectors may have."""
    return record(path).vocabulary or 0


def _mapped(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, tokens and row pointers, memory-mapped."""
    weights, tokens, indptr = (
        load_array(path / f"sparse.{part}.npy", "r") for part in ("weights", "tokens", "indptr")
    )
    return weights, tokens, indptr


def _sparse(path: Path, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, tokens and row pointers of some consecutive rows, memory-mapped."""
    weights, tokens, indptr = _mapped(path)
    cuts = indptr[start : stop + 1]
    return weights[cuts[0] : cuts[-1]], tokens[cuts[0] : cuts[-1]], cuts - cuts[0]
