"""Stores whose shards were made in shares: what lacks, and what they are of, told by the shards.

The corpus is passed by once more to know how many texts there are, but where its entries can be
skipped (see `benchmarks.task.Unread`) they are not parsed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from m3eval.benchmarks.repeats import Ids
from m3eval.benchmarks.tally import LONGEST_TOKEN, Census, Sample, require_unique
from m3eval.benchmarks.texts import Item
from m3eval.content import Content
from m3eval.errors import UserError
from m3eval.stages.job import Job
from m3eval.stages.shards import cut, raw_digest
from m3eval.stores import shard

SHOWN = 20  # so many numbers of shards are named; the others are counted


def require_complete(job: Job) -> None:
    """Looks at the shards of a store, and tells the reading of its texts what they were.

    Raises:
        UserError: shards of the store are missing or damaged, all of which are named, or are of
            other texts; or ids are unfit.
    """
    store, known = job.store, job.reading.known
    if known and not store.found.broken and store.texts_there == known.content.count:
        return
    sample: Sample[Item] = Sample()
    sizes: list[int] = []  # texts of each shard
    parsed, other = store.parsed(), []
    for _, chunk in cut(job.texts, store):
        path = store.found.files.shard(len(sizes))
        there = path.exists() and path not in store.found.broken
        if there and not _is_of(path, chunk, sum(sizes), job.texts.max_length, parsed):
            other.append(path)
        sizes.append(len(chunk))
        for item in chunk:
            sample.offer(item)
    _require_there(job, sizes)
    if other:
        raise UserError(
            f"{other[0]} is of other texts than its place in the corpus has now: it was made "
            "otherwise, or the corpus changed since. Use the texts of then, or `m3eval embed "
            "overwrite=true` to make the store anew."
        )
    if known is None and (content := store.content()):
        most = LONGEST_TOKEN * job.texts.max_length
        kept = tuple((key, text[:most]) for key, text in (item.pair() for item in sample.texts()))
        job.reading.settle(Census(content, kept, absent=_absent(job)))


def _is_of(
    path: Path, chunk: Sequence[Item], place: int, max_length: int, parsed: Mapping[str, str]
) -> bool:
    """Whether a shard is of these texts; they are parsed only where no process noted theirs."""
    there = shard.record(path).content
    if there is None:
        return True  # of an early version: the sum over all is compared
    raw = raw_digest(chunk, place)
    if raw is not None and parsed.get(raw) == there.sum:
        return True
    return Content.of([item.pair() for item in chunk], place, max_length) == there


def _require_there(job: Job, sizes: list[int]) -> None:
    """Raises UserError unless there are shards of so many texts."""
    store = job.store
    texts = {
        int(path.name): shard.record(path).texts
        for path in store.found.files.written_shards()
        if path not in store.found.broken
    }
    missing = [number for number in range(len(sizes)) if number not in texts]
    if missing:
        names = ", ".join(f"{number:05d}" for number in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        raise UserError(
            f"The store {store.path} lacks {len(missing):,} of {len(sizes):,} shards: {names}"
            f"{more}. Run the shares that did not end again, or `m3eval embed` without "
            "runtime.share= for all that is missing."
        )
    for number, count in texts.items():
        if number >= len(sizes) or count != sizes[number]:
            now = sizes[number] if number < len(sizes) else 0
            raise UserError(
                f"{store.found.files.shard(number)} has {count:,} texts, its place in the corpus "
                f"has {now:,} now: the corpus changed since it was made. Use the texts of then, or "
                "`m3eval embed overwrite=true` to make the store anew."
            )


def _absent(job: Job) -> frozenset[str]:
    """The ids that were looked for and are in no shard. Raises UserError where one is in two."""
    absent = set(job.reading.wanted)
    paths = job.store.found.files.written_shards()

    def keys() -> Iterator[str]:
        return (key for path in paths for key in shard.read_ids(path))

    with Ids() as ids:
        for key in keys():
            ids.add(key)
            absent.discard(key)
        require_unique(job.texts.name, ids, keys)
    return frozenset(absent)
