"""Reading a finished store: rows by blocks or by number, without loading what is not asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representation, TermVectors, ragged_range
from m3eval.errors import UserError
from m3eval.manifests import read_record
from m3eval.stores import shard

T = TypeVar("T")


class Store:
    """The representations of one text set. Row numbers follow the order of the texts."""

    def __init__(self, path: Path) -> None:
        """Opens a store.

        Raises:
            UserError: there is none, or it is not finished.
        """
        if not (path / "manifest.json").exists():
            state = "is not finished" if (path / "plan.json").exists() else "does not exist"
            raise UserError(
                f"The store {path} {state}: run step0_embed.py with the same settings first."
            )
        self.path = path
        self.manifest: dict[str, Any] = read_record(path / "manifest.json")
        self.shards = [path / "shards" / f"{i:05d}" for i in range(len(self.manifest["shards"]))]
        self.starts = np.concatenate(
            [[0], np.cumsum(self.manifest["shards"], dtype=np.int64)]
        )  # [shards + 1]

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def plan(self) -> dict[str, Any]:
        """All that decided the store's content."""
        return self.manifest["plan"]

    def require(self, *representations: Representation) -> None:
        """Raises UserError unless the store has these representations."""
        if lacking := sorted(set(representations) - set(self.plan["representations"])):
            raise UserError(
                f"The store {self.path} has {', '.join(self.plan['representations'])}, but {', '.join(lacking)} is needed: "
                "run step0_embed.py with representations= set to all of them and overwrite=true."
            )

    @functools.cached_property
    def ids(self) -> list[str]:
        """All ids, in the order of the rows. For corpora prefer `ids_of`."""
        return [key for path in self.shards for key in shard.read_ids(path)]

    def ids_of(self, rows: np.ndarray) -> dict[int, str]:
        """Row -> id, for [m] distinct or repeated rows, reading only the shards that have them."""
        found: dict[int, str] = {}
        distinct, _ = np.unique(
            rows, return_inverse=True
        )  # sorts; without the inverse numpy hashes, which takes longer
        for path, start, here in self._by_shard(distinct):
            ids = shard.read_ids(path)
            found.update(
                zip(here.tolist(), map(ids.__getitem__, (here - start).tolist()), strict=True)
            )
        return found

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Id -> row.

        Raises:
            UserError: an id is not in the store.
        """
        wanted, found = set(ids), {}
        for path, start in zip(self.shards, self.starts, strict=False):
            found.update(
                (key, int(start) + i) for i, key in enumerate(shard.read_ids(path)) if key in wanted
            )
        if lacking := wanted - found.keys():
            raise UserError(
                f"{self.path} has no texts {sorted(lacking)[:5]}: the run was made from another store."
            )
        return found

    def dense_blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """First row and [<= size, d] of consecutive blocks: float16 (memory-mapped), or float32 where compressed."""
        return (
            (start, shard.dense(path)[low:high]) for start, path, low, high in self._blocks(size)
        )

    @property
    def has_windows(self) -> bool:
        """Whether texts may have several dense rows: then read them by `window_blocks`, not by `dense` or `dense_blocks`."""
        return shard.has_windows(self.shards[0])

    def window_blocks(self, size: int) -> Iterator[tuple[int, Ragged]]:
        """First row and dense vectors (float16, memory-mapped) of consecutive texts with all their windows: of as many texts as
        `size` vectors hold, or of one.
        """
        for path, start in zip(self.shards, self.starts, strict=False):
            vectors, offsets = shard.windows(path)
            first = 0
            while first < len(offsets) - 1:
                end = max(
                    first + 1,
                    int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1,
                )
                yield (
                    int(start) + first,
                    Ragged(
                        vectors[offsets[first] : offsets[end]],
                        offsets[first : end + 1] - offsets[first],
                    ),
                )
                first = end

    def sparse_blocks(self, size: int) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """First row and [<= size, vocabulary] float32 of consecutive blocks."""
        return (
            (start, shard.sparse(path, low, high)) for start, path, low, high in self._blocks(size)
        )

    def sparse_columns(
        self, size: int
    ) -> Iterator[tuple[int, Callable[[np.ndarray], scipy.sparse.csr_array]]]:
        """First row of consecutive blocks and what reads the columns of some distinct tokens: [<= size, tokens] float32.

        Blocks go across shards: all but the last have `size` rows.
        """
        for start in range(0, len(self), size):
            yield start, functools.partial(self._columns, start, min(start + size, len(self)))

    def term_vector_blocks(self, size: int) -> Iterator[tuple[int, TermVectors]]:
        """First row and <= size texts of consecutive blocks, vectors in float16."""
        for start, path, low, high in self._blocks(size):
            terms, vectors, offsets = shard.term_vectors(path)
            here = offsets[low : high + 1]
            yield (
                start,
                TermVectors(terms[here[0] : here[-1]], vectors[here[0] : here[-1]], here - here[0]),
            )

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """[m, d] float32, in the order of the m >= 1 `rows`."""
        return self._gather(
            rows, lambda path, local: shard.dense(path)[local].astype(np.float32), np.concatenate
        )

    def sparse(self, rows: np.ndarray) -> scipy.sparse.csr_array:
        """[m, vocabulary] float32, in the order of the m >= 1 `rows`."""
        return self._gather(
            rows, shard.sparse_rows, functools.partial(scipy.sparse.vstack, format="csr")
        )

    def multi_vector(self, rows: np.ndarray) -> list[np.ndarray]:
        """M arrays [tokens, d] float16, in the order of `rows`."""

        def read(path: Path, local: np.ndarray) -> list[np.ndarray]:
            vectors: Ragged = shard.multi_vector(path)
            return [np.asarray(vectors[i]) for i in local]

        parts = [
            (here, read(path, here - start))
            for path, start, here in self._by_shard(np.unique(rows))
        ]
        found = {
            int(row): vectors
            for here, arrays in parts
            for row, vectors in zip(here, arrays, strict=True)
        }
        return [found[int(row)] for row in rows]

    def term_vectors(self, rows: np.ndarray) -> TermVectors:
        """Of the m >= 1 sorted, distinct `rows`; vectors in float16."""
        parts = []
        for path, start, here in self._by_shard(rows):
            terms, vectors, offsets = shard.term_vectors(path)
            counts = np.diff(offsets)[here - start]
            where = ragged_range(offsets[here - start], counts)
            parts.append((terms[where], vectors[where], counts))
        terms, vectors, counts = map(np.concatenate, zip(*parts, strict=True))
        return TermVectors(terms, vectors, np.concatenate([[0], np.cumsum(counts)]))

    def _blocks(self, size: int) -> Iterator[tuple[int, Path, int, int]]:
        """First row, folder, and the first and last + 1 row within it, of consecutive blocks of at most `size` rows."""
        for path, start, texts in zip(
            self.shards, self.starts.tolist(), self.manifest["shards"], strict=False
        ):
            for low in range(0, texts, size):
                yield start + low, path, low, min(low + size, texts)

    def _columns(self, start: int, stop: int, wanted: np.ndarray) -> scipy.sparse.csr_array:
        shards = self._by_shard(np.arange(start, stop))
        parts = [
            shard.sparse_columns(path, here[0] - first, here[-1] + 1 - first, wanted)
            for path, first, here in shards
        ]
        return scipy.sparse.vstack(parts, format="csr")

    def _by_shard(self, rows: np.ndarray) -> Iterator[tuple[Path, int, np.ndarray]]:
        """Folder, first row and the rows within, for every shard that has some of the sorted `rows`."""
        cuts = np.searchsorted(rows, self.starts)
        for path, start, low, high in zip(
            self.shards, self.starts, cuts[:-1], cuts[1:], strict=False
        ):
            if low < high:
                yield path, int(start), rows[low:high]

    def _gather(
        self, rows: np.ndarray, read: Callable[[Path, np.ndarray], T], join: Callable[[list[T]], T]
    ) -> T:
        distinct, back = np.unique(rows, return_inverse=True)
        return join([read(path, here - start) for path, start, here in self._by_shard(distinct)])[
            back
        ]
