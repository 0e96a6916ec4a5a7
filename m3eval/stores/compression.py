"""Dense vectors on disk in more or less than 16 bits a number, or in fewer numbers.

What is read are float vectors again. float32 rounds nothing, and takes twice the room. There are
three ways to save room:

- Fewer numbers: the first `dimensions` of each vector, scaled to the length of the whole one, as
  Matryoshka representations (Kusupati et al. 2022, section 3) are used. Vectors of length 1 still
  have length 1.
- int8: round(127 x / m) with m the largest |x| of the vector, stored in float32. A scale for each
  vector needs no pass over the corpus and makes a shard independent of the others.
- binary: the signs, read as +1 / sqrt(d) and -1 / sqrt(d), so that vectors have length 1 again.
  Zero counts as negative.

Queries stay float16, or float32 beside such documents: a score is the inner product of a float
query and a document as it is read, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from m3eval.errors import UserError
from m3eval.kinds import Count
from m3eval.lazy import numpy as np
from m3eval.manifests import DenseStorage
from m3eval.stores.arrays import load_array

Type = Literal["float16", "float32", "int8", "binary"]


@dataclass(frozen=True)
class Compression:
    """How dense vectors are stored; by default whole, in float16."""

    dimensions: Count | None = None  # None: all
    type: Type = "float16"

    def fit(self, width: int) -> None:
        """Raises UserError where vectors of `width` numbers have fewer than `dimensions`."""
        if self.dimensions is not None and self.dimensions > width:
            raise UserError(
                f"store.dense.dimensions={self.dimensions}: the encoder's vectors have {width}."
            )

    def bytes(self, width: int) -> int:
        """What a vector of `width` numbers takes."""
        d = self.dimensions or width
        return {"float16": 2 * d, "float32": 4 * d, "int8": d + 4, "binary": -(-d // 8)}[self.type]

    @property
    def dtype(self) -> type[np.floating]:
        """The type that numbers must fit into; those of int8 and binary are scaled."""
        return np.float32 if self.type == "float32" else np.float16

    def arrays(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """The files of [n, width] float32 vectors, by name without `.npy`."""
        if self.dimensions is not None:
            self.fit(vectors.shape[1])
            vectors = cut(vectors, self.dimensions)
        if self.type in ("float16", "float32"):
            return {"dense": vectors.astype(self.type)}
        if self.type == "int8":
            scales = np.abs(vectors).max(axis=1).astype(np.float32) / np.float32(127)  # [n]
            codes = np.rint(vectors / np.maximum(scales, np.finfo(np.float32).tiny)[:, None])
            return {"dense": codes.astype(np.int8), "dense.scales": scales}
        signs = np.packbits(vectors > 0, axis=1)  # [n, ceil(d / 8)]
        return {"dense": signs, "dense.dimensions": np.array(vectors.shape[1])}


class Vectors(Protocol):
    """[n, d] vectors on disk."""

    def __len__(self) -> int:
        """How many vectors there are: n."""
        ...

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        """[m, d] float16 or float32: the rows of a slice or by their numbers."""
        ...


@dataclass(frozen=True)
class Scaled:
    """`Vectors` stored as int8."""

    codes: np.ndarray  # [n, d] int8
    scales: np.ndarray  # [n] float32

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        return self.codes[which].astype(np.float32) * self.scales[which][:, None]


@dataclass(frozen=True)
class Signs:
    """`Vectors` stored as bits."""

    bits: np.ndarray  # [n, ceil(d / 8)] uint8
    dimensions: int

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        signs = np.unpackbits(self.bits[which], axis=1, count=self.dimensions).astype(np.float32)
        return (signs * 2 - 1) / np.float32(np.sqrt(self.dimensions))


def open_vectors(path: Path) -> Vectors:
    """The dense vectors of a shard, memory-mapped, however they are stored."""
    stored = load_array(path / "dense.npy", "c")  # torch takes no arrays that are read-only
    if stored.dtype == np.int8:
        return Scaled(stored, load_array(path / "dense.scales.npy", "r"))
    if stored.dtype == np.uint8:
        return Signs(stored, int(load_array(path / "dense.dimensions.npy")))
    return stored


def cut(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """[n, dimensions] float32: the beginnings of [n, width] vectors, as long as these were."""
    short = vectors[:, :dimensions]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)  # [n, 1]
    short_length = np.linalg.norm(short, axis=1, keepdims=True)  # [n, 1]
    return short * (length / np.maximum(short_length, np.finfo(np.float32).tiny))


def of(storage: DenseStorage | None) -> Compression:
    """How dense vectors are stored of which a plan says this."""
    return Compression(storage.dimensions, storage.type) if storage else Compression()
