"""Finishes the stores whose shards were made in shares; names every shard that is missing."""

from __future__ import annotations

from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import together
from m3eval.stages import embed
from m3eval.stages.merged import require_complete
from m3eval.stages.shards import require_whole


def run(setup: Setup) -> None:
    """Looks at every shard; where all are there, writes the manifests."""
    require_whole(setup, "m3eval merge")
    embed.require_plain(setup, "m3eval merge")
    with embed.locked(embed.to_write(setup)):
        jobs = embed.survey(setup, skipping=True)
        todo = embed.unfinished(jobs)
        together([lambda job=job: require_complete(job) for job in todo])
        for job in todo:
            embed.finish(setup, job, None)
    for job in jobs:
        state = "finished" if job in todo else "found finished"
        count = job.reading.census().content.count
        say(f"  {state:14} {job.store.path}  ({count:,} texts)")
