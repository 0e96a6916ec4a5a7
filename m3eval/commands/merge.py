"""Finishes the stores whose shards were made in shares; names every shard that is missing."""

from __future__ import annotations

from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.stages import embed
from m3eval.stages.job import Job
from m3eval.stages.shards import cut, require_whole

SHOWN = 20  # so many numbers of shards are named; the others are counted


def run(setup: Setup) -> None:
    """Looks at every shard; where all are there, writes the manifests."""
    require_whole(setup, "m3eval merge")
    embed.require_plain(setup, "m3eval merge")
    with embed.locked(embed.to_write(setup)):
        jobs = embed.survey(setup)
        todo = embed.unfinished(jobs)
        together([lambda job=job: require_complete(job) for job in todo])
        for job in todo:
            embed.finish(setup, job, None)
    for job in jobs:
        state = "finished" if job in todo else "found finished"
        say(f"  {state:14} {job.store.path}  ({job.reading.census().content.count:,} texts)")


def require_complete(job: Job) -> None:
    """Raises UserError where shards of a store are missing or damaged, and names them."""
    store = job.store
    there = store.found.files.written_shards()
    numbers = {int(path.name) for path in there if path not in store.found.broken}
    # Only where something is missing must the texts be read to know of how many shards.
    if not store.found.broken and store.texts_there == job.reading.census().content.count:
        return
    in_all = sum(1 for _ in cut(job.texts, store))
    missing = [number for number in range(in_all) if number not in numbers]
    if not missing:
        return  # what is there is of other texts: `finish` says so
    names = ", ".join(f"{number:05d}" for number in missing[:SHOWN])
    more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
    raise UserError(
        f"The store {store.path} lacks {len(missing):,} of {in_all:,} shards: {names}{more}. Run "
        "the shares that did not end again, or `m3eval embed` without runtime.share= for all that "
        "is missing."
    )
