"""Reading a finished store: rows by blocks or by number, without loading what is not asked for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m3eval.encoders.representations import Ragged, TermVectors, ragged_range
from m3eval.errors import Missing, UserError
from m3eval.files import digest, read_json
from m3eval.layout import StoreFiles
from m3eval.lazy import scipy, torch
from m3eval.manifests import Representation, StoreManifest, StorePlan
from m3eval.records import read
from m3eval.runtime import Share
from m3eval.stores import checks, shard


class Store:
    """The representations of one text set. Row numbers follow the order of the texts."""

    def __init__(self, path: Path) -> None:
        """Opens a store: its files are there and have their sizes, its ids are as written.

        What is in the arrays is looked at by `require`.

        Raises:
            UserError: there is none, it is not finished, or it is damaged.
        """
        self.path, self.files = path, StoreFiles(path)
        if not self.files.manifest.exists():
            state = "is not finished" if self.files.plan.exists() else "does not exist"
            raise Missing(
                "store",
                f"The store {path} {state}: run `m3eval embed` with the same settings first.",
            )
        self.manifest = read(self.files.manifest, StoreManifest, checks.REMEDY)
        self.shards = [self.files.shard(i) for i in range(len(self.manifest.shards))]
        # First row of each shard, and the number of all rows: [shards + 1].
        self.starts = np.concatenate([[0], np.cumsum(self.manifest.shards, dtype=np.int64)])
        written = checks.written(self.files, self.manifest)
        self.records = [checks.open_shard(*each) for each in written]
        self.searched = range(len(self.shards))  # the shards that blocks are of: see `part`
        self._check({checks.IDS})

    def __len__(self) -> int:
        return int(self.starts[-1])

    def part(self, share: Share) -> Store:
        """The same store, whose blocks and `searched_rows` are of one share of its whole shards.

        Rows keep their numbers. Shares are about alike in number of shards; where there are more
        shares than shards, some have none.
        """
        part, n = copy.copy(self), len(self.shards)
        part.searched = range(share.number * n // share.of, (share.number + 1) * n // share.of)
        return part

    @property
    def searched_rows(self) -> list[range]:
        """The rows of each shard that blocks are of."""
        return [range(int(self.starts[i]), int(self.starts[i + 1])) for i in self.searched]

    @property
    def plan(self) -> StorePlan:
        """All that decided the store's content."""
        return self.manifest.plan

    @functools.cached_property
    def digest(self) -> str:
        """By which runs name the store they were made from: of the manifest as the file has it."""
        return digest(read_json(self.files.manifest))

    @property
    def is_sealed(self) -> bool:
        """Whether damage to its files can be seen; not of stores that early versions made."""
        return self.manifest.sealed is not None

    def require_unchanged(self) -> None:
        """Raises UserError where another store has taken the place of this one since."""
        if (
            not self.files.manifest.exists()
            or digest(read_json(self.files.manifest)) != self.digest
        ):
            raise UserError(
                f"The store {self.path} was made again while it was read: run the same command "
                "again."
            )

    def require(self, *representations: Representation, fetch: bool = False) -> None:
        """Raises UserError unless the store has these representations, as they were written.

        The arrays of the shards that are searched are read for it, once per process; those that lie
        in an object store only when they are fetched, unless all are to be fetched now, ids too.
        """
        if lacking := sorted(set(representations) - set(self.plan.representations)):
            raise UserError(
                f"The store {self.path} has {', '.join(self.plan.representations)}, but "
                f"{', '.join(lacking)} is needed: run `m3eval embed` with representations= set to "
                "all of them and overwrite=true."
            )
        self._check({*representations, *([checks.IDS] if fetch else [])}, fetch)

    @functools.cached_property
    def ids(self) -> list[str]:
        """All ids, in the order of the rows. For corpora prefer `ids_of`."""
        return [key for path in self.shards for key in shard.read_ids(path)]

    def ids_of(self, rows: np.ndarray) -> dict[int, str]:
        """Row -> id, for [m] distinct or repeated rows, reading only the shards that have them."""
        # This sorts. Without the inverse numpy hashes, which takes longer.
        distinct, _ = np.unique(rows, return_inverse=True)
        id_of: dict[int, str] = {}
        for path, start, part in self._by_shard(distinct):
            id_of.update(zip(part.tolist(), shard.ids_at(path, part - start), strict=True))
        return id_of

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Id -> row.

        Raises:
            UserError: an id is not in the store.
        """
        wanted = set(ids)
        row_of: dict[str, int] = {}
        for path, start in zip(self.shards, self.starts.tolist(), strict=False):
            for row, key in enumerate(shard.read_ids(path), start):
                if key in wanted:
                    row_of[key] = row
        if lacking := wanted - row_of.keys():
            raise UserError(
                f"{self.path} has no texts {sorted(lacking)[:5]}: the run was made from another "
                "store."
            )
        return row_of

    def dense_blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """First row and [<= size, d] of consecutive blocks.

        float16 or float32 (memory-mapped), or float32 of vectors that are compressed.
        """
        for start, path, low, high in self._blocks(size):
            yield start, shard.dense(path)[low:high]

    @property
    def has_windows(self) -> bool:
        """Whether texts may have several dense rows.

        Then read them by `window_blocks`, not by `dense` or `dense_blocks`.
        """
        return shard.has_windows(self.shards[0])

    def window_blocks(self, size: int) -> Iterator[tuple[int, Ragged]]:
        """First row and dense vectors (as `dense_blocks` has them) of consecutive texts.

        Blocks hold all windows of their texts: of as many texts as `size` vectors hold, or of one.
        """
        for i in self.searched:
            start = int(self.starts[i])
            vectors, offsets = shard.windows(self.shards[i])
            low = 0
            while low < len(offsets) - 1:
                whole = int(np.searchsorted(offsets, offsets[low] + size, side="right")) - 1
                high = max(low + 1, whole)
                bounds = offsets[low : high + 1]
                yield start + low, Ragged(vectors[bounds[0] : bounds[-1]], bounds - bounds[0])
                low = high

    def sparse_blocks(self, size: int) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """First row and [<= size, vocabulary] float32 of consecutive blocks."""
        for start, path, low, high in self._blocks(size):
            yield start, shard.sparse(path, low, high)

    def sparse_columns(
        self, size: int
    ) -> Iterator[tuple[int, Callable[[np.ndarray], scipy.sparse.csr_array]]]:
        """First row of consecutive blocks, and what reads the columns of some distinct tokens.

        It gives [<= size, tokens] float32. Blocks go across shards: all but the last have `size`
        rows.
        """
        first, last = self.starts[[self.searched.start, self.searched.stop]].tolist()
        for start in range(first, last, size):
            yield start, functools.partial(self._columns, start, min(start + size, last))

    def term_vector_blocks(self, size: int) -> Iterator[tuple[int, TermVectors]]:
        """First row and <= size texts of consecutive blocks, vectors in float16."""
        for start, path, low, high in self._blocks(size):
            terms, vectors, offsets = shard.term_vectors(path)
            bounds = offsets[low : high + 1]
            part = slice(bounds[0], bounds[-1])
            yield start, TermVectors(terms[part], vectors[part], bounds - bounds[0])

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """[m, d] float32, in the order of the m >= 1 `rows`."""
        stored = self._gather(rows, lambda path, local: shard.dense(path)[local], np.concatenate)
        return torch.from_numpy(stored).float().numpy()  # numpy takes five times as long for it

    def sparse(self, rows: np.ndarray) -> scipy.sparse.csr_array:
        """[m, vocabulary] float32, in the order of the m >= 1 `rows`."""
        return self._gather(
            rows, shard.sparse_rows, functools.partial(scipy.sparse.vstack, format="csr")
        )

    def multi_vector(self, rows: np.ndarray) -> list[np.ndarray]:
        """Arrays [tokens, d] float16, memory-mapped, in the order of `rows`."""
        vectors_of: dict[int, np.ndarray] = {}
        for path, start, part in self._by_shard(np.unique(rows)):
            vectors, offsets = shard.multi_vector(path)
            bounds = zip(
                offsets[part - start].tolist(), offsets[part - start + 1].tolist(), strict=True
            )
            stored = np.asarray(vectors)  # slices of a memmap would be slow ones
            for row, (low, high) in zip(part.tolist(), bounds, strict=True):
                vectors_of[row] = stored[low:high]
        return [vectors_of[row] for row in rows.tolist()]

    def term_vectors(self, rows: np.ndarray) -> TermVectors:
        """Of the m >= 1 sorted, distinct `rows`; vectors in float16."""
        parts = []
        for path, start, part in self._by_shard(rows):
            terms, vectors, offsets = shard.term_vectors(path)
            counts = np.diff(offsets)[part - start]
            places = ragged_range(offsets[part - start], counts)
            parts.append((terms[places], vectors[places], counts))
        terms, vectors, counts = map(np.concatenate, zip(*parts, strict=True))
        return TermVectors(terms, vectors, np.concatenate([[0], np.cumsum(counts)]))

    def _check(self, parts: Collection[str], fetch: bool = False) -> None:
        for i in self.searched:
            checks.check_content(self.shards[i], self.records[i], parts, fetch)

    def _blocks(self, size: int) -> Iterator[tuple[int, Path, int, int]]:
        """Consecutive blocks of at most `size` rows.

        First row; folder of the shard; first row and the row after the last, within the shard.
        """
        for i in self.searched:
            start, rows = int(self.starts[i]), self.manifest.shards[i]
            for low in range(0, rows, size):
                yield start + low, self.shards[i], low, min(low + size, rows)

    def _columns(self, start: int, stop: int, wanted: np.ndarray) -> scipy.sparse.csr_array:
        parts = [
            shard.sparse_columns(path, part[0] - first, part[-1] + 1 - first, wanted)
            for path, first, part in self._by_shard(np.arange(start, stop))
        ]
        return scipy.sparse.vstack(parts, format="csr")

    def _by_shard(self, rows: np.ndarray) -> Iterator[tuple[Path, int, np.ndarray]]:
        """Folder, first row and the rows within, for every shard that has some of sorted `rows`."""
        cuts = np.searchsorted(rows, self.starts).tolist()
        bounds = zip(self.shards, self.starts.tolist(), cuts[:-1], cuts[1:], strict=False)
        for path, start, low, high in bounds:
            if low < high:
                yield path, start, rows[low:high]

    def _gather(
        self,
        rows: np.ndarray,
        read: Callable[[Path, np.ndarray], Any],
        join: Callable[[list[Any]], Any],
    ) -> Any:
        """What `read` gives for the rows of each shard, joined, in the order of `rows`."""
        distinct, back = np.unique(rows, return_inverse=True)
        parts = [read(path, part - start) for path, start, part in self._by_shard(distinct)]
        return join(parts)[back]
