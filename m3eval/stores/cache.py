"""Multi-vectors of documents that several languages ask for, on disk up to a bound."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from m3eval.oserrors import writing


class VectorCache:
    """What was encoded for one language need not be encoded for the next over the same corpus.

    What is in it stays in it. Every language asks in the order of rows, and then the first rows are
    as good to have as any; to have the last ones would throw each out just before it is asked for
    again.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """An empty cache in the folder `path`, which whoever made it removes.

        Args:
            path: where its file goes.
            limit: bytes that it may take.
        """
        self.file = path / "vectors.float16"
        self.limit = limit
        self.width = 0  # numbers of a vector
        self.places: dict[int, tuple[int, int]] = {}  # row -> first vector, number of vectors
        self.size = 0  # vectors
        self.lock = threading.Lock()  # documents are encoded by several threads

    def has(self, rows: np.ndarray) -> np.ndarray:
        """[n] bool: which rows are in it."""
        return np.fromiter((row in self.places for row in rows.tolist()), bool, len(rows))

    def add(self, rows: np.ndarray, vectors: np.ndarray, lengths: np.ndarray) -> None:
        """Takes in the vectors of some rows, unless they would exceed the bound.

        Args:
            rows: [n] int64.
            vectors: [sum of lengths, d] float16.
            lengths: [n], vectors of each row.
        """
        with self.lock:
            if (self.size + len(vectors)) * vectors.shape[1] * 2 > self.limit:
                return
            self.width = vectors.shape[1]
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with writing(self.file, self.file), self.file.open("ab") as file:
                file.write(np.ascontiguousarray(vectors, np.float16).data)
            starts = self.size + np.cumsum(lengths) - lengths
            places = zip(starts.tolist(), lengths.tolist(), strict=True)
            self.places |= zip(rows.tolist(), places, strict=True)
            self.size += len(vectors)

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """Arrays [tokens, d] float16, memory-mapped, of rows that are in it."""
        vectors = np.empty((0, 1), np.float16)
        if self.size:
            # torch takes no arrays that are read-only.
            vectors = np.asarray(np.memmap(self.file, np.float16, "c")).reshape(-1, self.width)
        places = (self.places[row] for row in rows.tolist())
        return [vectors[start : start + n] for start, n in places]
