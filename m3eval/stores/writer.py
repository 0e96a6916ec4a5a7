"""Writing a store shard by shard, so that an interruption costs one shard at most.

`layout.StoreFiles` has the names. The plan is there from the start and gone at the end; a shard
appears whole or not at all; the manifest is written last, so its presence means finished. A store
that replaces another is written beside it and takes its place when it is whole.
"""

from __future__ import annotations

import functools
import operator
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from m3eval.buckets import discard, look_again, origin_of
from m3eval.comparable import same_store
from m3eval.content import Content
from m3eval.errors import UserError
from m3eval.files import sha256, sweep, write_json
from m3eval.layout import StoreFiles
from m3eval.manifests import ShardRecord, StoreCost, StoreManifest, StorePlan, StoreTotals
from m3eval.records import plain, read, write
from m3eval.stores import shard
from m3eval.stores.found import REMEDY, finished_store, half_written, look, plan_digest
from m3eval.stores.shard_writer import PARSED, Parsed, ShardWriter


class StoreWriter:
    """A store that is new, half-written by an earlier run of the same plan, finished or damaged."""

    def __init__(
        self,
        path: Path,
        plan: StorePlan,
        overwrite: bool = False,
        repair: bool = False,
        own: Callable[[int], bool] | None = None,
    ) -> None:
        """Compares the plan with what is on disk; writes nothing yet. See `found.look`."""
        self.path, self.asked, self.overwrites = path, plan, overwrite
        self.found = look(path, plan, overwrite, repair, own)

    @property
    def plan(self) -> StorePlan:
        """All that decides the store's content."""
        return self.found.plan

    @property
    def finished(self) -> bool:
        """Whether there is nothing to encode."""
        return self.found.manifest is not None and not self.found.broken

    @property
    def sizes(self) -> Sequence[int] | None:
        """How many texts each shard of a finished store has; None: the store is not finished."""
        return self.found.manifest.shards if self.found.manifest else None

    @property
    def is_sealed(self) -> bool:
        """Whether damage to the finished store can be seen."""
        return self.found.manifest is None or self.found.manifest.sealed is not None

    @property
    def replacement(self) -> Path:
        """Where overwrite=true writes, until what it makes is whole."""
        return StoreFiles(self.path).replacement.folder

    @property
    def resumed(self) -> int:
        """How many shards are there that need not be made."""
        if self.found.useless:
            return 0
        return len(self.found.files.written_shards()) - len(self.found.broken)

    @property
    def texts_there(self) -> int:
        """How many texts the shards have that are there."""
        return sum(shard.record(path).texts for path in self.found.files.written_shards())

    def join(self) -> ShardWriter:
        """Writes the plan, and returns what writes shards, while others write the rest of them.

        Nothing of theirs is removed, nor what they are writing.

        Raises:
            UserError: another process has begun the store with another plan meanwhile.
        """
        files = self.found.files
        for path in self.found.broken:
            discard(path)
        if not files.plan.exists():
            write(files.plan, self.plan)
        if there := half_written(files):
            problem = f"The store {self.path} was begun otherwise meanwhile"
            same_store(there, self.plan, finished=False).require(problem, REMEDY)
        return ShardWriter(files, self.plan, origin=origin_of(files.folder))

    def leave(self, cost: StoreCost) -> None:
        """Notes what this process took, for whoever finishes the store."""
        name = f"{os.getpid()}-{secrets.token_hex(4)}.json"
        write_json(self.found.files.costs / name, plain(cost))

    def start(self) -> ShardWriter:
        """Makes room, writes the plan, and returns what writes shards."""
        files = self.found.files
        if self.found.useless:
            discard(files.folder)
        _sweep(files)
        for path in self.found.broken:
            discard(path)
        if self.found.manifest is None:
            write(files.plan, self.plan)
            discard(files.manifest)  # damaged, or of a replacement
        return ShardWriter(files, self.plan, self.overwrites, self.sizes, origin_of(files.folder))

    def finish(
        self, cost: StoreCost | None = None, content: Content | None = None
    ) -> StoreManifest:
        """Writes the manifest and returns it: the store is finished now, sealed and in its place.

        Args:
            cost: what the encoding took; goes to a file of its own, for it is no part of what a
                store is. None: nothing was encoded.
            content: what the texts are that it must be of; None: its shards say it.

        Raises:
            UserError: it is of other texts; or a finished store was repaired by other versions of
                libraries, to other vectors.
        """
        files, before = self.found.files, self.found.manifest
        _sweep(files)
        look_again(files.folder)  # what others have made elsewhere
        records = [_sealed_record(path, self.plan) for path in files.written_shards()]
        manifest = self._manifest(records, content)
        if before is None and (theirs := finished_store(files)):
            before = theirs  # another process was first, where none can lock the others out
            if manifest != replace(theirs, sealed=None):
                raise UserError(
                    f"The store {self.path} was finished by another process meanwhile, which was "
                    f"told different things. {REMEDY}"
                )
        costs = [*self._left(), *([cost] if cost else [])]
        if before is None and costs:
            write_json(files.cost, plain(summed(costs)))
        if before is None or manifest != replace(before, sealed=None):
            if before and before.records and self.asked.made_with != before.plan.made_with:
                raise UserError(
                    f"The store {self.path} was made by other versions of libraries, and these "
                    f"make other vectors of the same texts. {REMEDY}"
                )
            write(files.manifest, manifest)
        discard(files.plan)
        discard(files.costs)
        if files.folder != self.path:
            take_place(StoreFiles(self.path))
        return manifest

    def parsed(self) -> dict[str, str]:
        """What each process parsed that wrote some of the shards: see `leave_parsed`."""
        found = sorted(self.found.files.costs.glob(f"*{PARSED}"))
        return {raw: sum_ for path in found for raw, sum_ in read(path, Parsed).sums.items()}

    def _left(self) -> list[StoreCost]:
        """What each process took that wrote some of the shards."""
        return [read(path, StoreCost) for path in sorted(self.found.files.costs.glob("*.json"))]

    def content(self) -> Content | None:
        """What the shards that are there are of; None where they do not all say it."""
        return _sum([shard.record(path) for path in self.found.files.written_shards()])

    def _manifest(self, records: Sequence[ShardRecord], content: Content | None) -> StoreManifest:
        """The manifest of the shards that are there."""
        paths = self.found.files.written_shards()
        totals = StoreTotals(
            sum(each.texts for each in records),
            sum(each.tokens for each in records),
            sum(each.truncated for each in records),
        )
        written = _sum(records)
        asked = content.count if content else self.plan.texts.count
        if asked not in (None, totals.texts) or (content and written and written != content):
            raise UserError(
                f"{self.path}: {totals.texts:,} texts were written, {asked:,} were counted, or "
                "they are others: the corpus changed while it was read. Remove the folder and "
                "start again."
            )
        texts = replace(self.plan.texts, count=totals.texts)
        if written:
            texts = replace(self.plan.texts.rules, count=written.count, sum=written.sum)
        sizes = {
            name: sum(shard.size(each, name) for each in records)
            for name in self.plan.representations
        }
        return StoreManifest(
            replace(self.plan, texts=texts),
            totals,
            [each.texts for each in records],
            sizes,
            [sha256(path / shard.RECORD) for path in paths],
        )


def _sweep(files: StoreFiles) -> None:
    """Removes what lost processes, as of a cluster, were writing; only for who writes alone."""
    for folder in (files.folder, files.shards):
        sweep(folder)


def take_place(files: StoreFiles) -> None:
    """A store that is whole takes the place of the one that it replaces."""
    shutil.rmtree(files.replaced, ignore_errors=True)
    if files.folder.exists():
        files.folder.rename(files.replaced)
    files.replacement.folder.rename(files.folder)
    shutil.rmtree(files.replaced, ignore_errors=True)


def recover(files: StoreFiles) -> None:
    """Ends what was killed behind the manifest; only for whoever holds the lock."""
    if files.manifest.exists():
        discard(files.plan)
        discard(files.costs)
    if not files.replaced.exists():
        return
    if not files.folder.exists():
        new = files.replacement
        (new.folder if new.manifest.exists() else files.replaced).rename(files.folder)
    shutil.rmtree(files.replaced, ignore_errors=True)


def summed(costs: Sequence[StoreCost]) -> StoreCost:
    """What several took together: seconds as if one came after the other."""
    tokens, seconds = sum(cost.tokens for cost in costs), sum(cost.seconds for cost in costs)
    runtimes = dict.fromkeys(cost.runtime for cost in costs)
    attentions = dict.fromkeys(cost.attention for cost in costs if cost.attention)
    return StoreCost(tokens, seconds, "; ".join(runtimes), "; ".join(attentions) or None)


def _sum(records: Sequence[ShardRecord]) -> Content | None:
    """What all shards are of together; None where one of them does not say."""
    contents = [each.content for each in records if each.content]
    if not contents or len(contents) < len(records):
        return None
    return functools.reduce(operator.add, contents)


def _sealed_record(path: Path, plan: StorePlan) -> ShardRecord:
    """What a shard holds; one of an early version is sealed as it stands."""
    there = shard.record(path)
    if there.files:
        return there
    shard.write_record(path, replace(there, plan=plan_digest(plan), files=shard.seals_of(path)))
    return shard.record(path)
