"""Finishes the stores and runs that were made in shares; names everything that is missing."""

from __future__ import annotations

from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import together
from m3eval.stages import embed, search, search_share, workers
from m3eval.stages.language import LanguageRuns
from m3eval.stages.merged import require_complete
from m3eval.stages.shards import require_whole


def run(setup: Setup) -> None:
    """Looks at every shard; where all are there, writes the manifests. Then merges runs."""
    require_whole(setup, "m3eval merge")
    embed.require_plain(setup, "m3eval merge")
    with embed.locked(embed.to_write(setup)), workers.settled():
        jobs = embed.survey(setup, skipping=True)
        todo = embed.unfinished(jobs)
        together([lambda job=job: require_complete(job) for job in todo])
        for job in todo:
            embed.finish(setup, job, None)
    for job in jobs:
        state = "finished" if job in todo else "found finished"
        count = job.reading.census().content.count
        say(f"  {state:14} {job.store.path}  ({count:,} texts)")
    merge_runs(setup)


def merge_runs(setup: Setup) -> None:
    """Merges the runs of which parts are there; `m3eval search` makes what builds on them."""
    in_parts = search_share.searched_in_parts(setup)
    with_parts = [
        (language, name)
        for language in (LanguageRuns(setup, task) for task in setup.tasks)
        for name in in_parts
        if setup.layout.run(name, language.task.language).parts_there()
    ]
    together([language.partitions(name).require_complete for language, name in with_parts])
    for language, name in with_parts:
        with search.locked(setup, [language], [name]):
            language.make(name)
