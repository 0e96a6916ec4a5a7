"""Writing a store shard by shard, so that an interruption costs one shard at most.

`layout.StoreFiles` has the names. The plan is there from the start and gone at the end; a shard
appears whole or not at all; the manifest is written last, so its presence means finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from m3eval.comparable import same_store
from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.files import write_json
from m3eval.layout import StoreFiles
from m3eval.manifests import StoreCost, StoreManifest, StorePlan, StoreTotals
from m3eval.records import plain, read
from m3eval.stores import compression, shard

REMEDY = (
    "Vectors that differ are never mixed: choose another output_dir=, or set overwrite=true to "
    "replace it."
)


class StoreWriter:
    """A store that is new, half-written by an earlier run of the same plan, or finished."""

    def __init__(self, path: Path, plan: StorePlan, overwrite: bool = False) -> None:
        """Compares the plan with what is on disk; writes nothing yet.

        Args:
            path: folder of the store.
            plan: all that decides its content.
            overwrite: replace whatever is there, but not before `start`.

        Raises:
            UserError: the folder holds vectors that were made otherwise; names each difference.
        """
        self.files, self.plan, self.overwrite = StoreFiles(path), plan, overwrite
        self.finished = not overwrite and self.files.manifest.exists()
        if self.finished:
            there = read(self.files.manifest, StoreManifest, REMEDY).plan
            problem = f"The store {path} is finished, but was made otherwise"
            same_store(there, plan, finished=True).require(problem, REMEDY)
        elif not overwrite and self.files.plan.exists():
            there = read(self.files.plan, StorePlan, REMEDY)
            problem = f"The store {path} is half-written, and what is there was made otherwise"
            same_store(there, plan, finished=False).require(problem, REMEDY)

    @classmethod
    def reopened(cls, path: Path) -> StoreWriter:
        """A store that another process of the same run has started."""
        return cls(path, read(StoreFiles(path).plan, StorePlan))

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.files.folder

    @property
    def resumed(self) -> int:
        """How many shards an interrupted run left."""
        return 0 if self.overwrite else len(self.files.written_shards())

    def start(self) -> None:
        """Writes the plan."""
        if self.overwrite:
            shutil.rmtree(self.path, ignore_errors=True)
        write_json(self.files.plan, plain(self.plan))

    def has(self, number: int) -> bool:
        """Whether a shard is there, and thus whole."""
        return self.files.shard(number).exists()

    def write(self, number: int, ids: Sequence[str], vectors: Representations) -> None:
        """Writes one shard: the ids of its texts and what the encoder gave for them."""
        shard.write_shard(self.files.shard(number), ids, vectors, compression.of(self.plan.dense))

    def finish(self, cost: StoreCost | None = None) -> StoreManifest:
        """Writes the manifest and returns it: the store is finished now.

        Args:
            cost: what the encoding took; goes to a file of its own, for it is no part of what a
                store is. None: nothing was encoded.

        Raises:
            UserError: other texts were written than were counted before.
        """
        shards = self.files.written_shards()
        summaries = [shard.summary(path) for path in shards]
        totals = StoreTotals(
            *(sum(each[key] for each in summaries) for key in ("texts", "tokens", "truncated"))
        )
        if totals.texts != self.plan.texts.count:
            raise UserError(
                f"{self.path}: {totals.texts:,} texts were written, {self.plan.texts.count:,} were "
                "counted before: the corpus changed while it was read. Remove the folder and start "
                "again."
            )
        sizes = {
            name: sum(shard.size(path, name) for path in shards)
            for name in self.plan.representations
        }
        counts = [each["texts"] for each in summaries]
        manifest = StoreManifest(self.plan, totals, counts, sizes)
        if cost:
            write_json(self.files.cost, plain(cost))
        write_json(self.files.manifest, plain(manifest))
        self.files.plan.unlink(missing_ok=True)
        for leftover in self.files.shards.glob(".*.part"):
            shutil.rmtree(leftover)
        return manifest
