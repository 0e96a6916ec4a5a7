"""The three stages in one process."""

from __future__ import annotations

from m3eval.buckets import look_again
from m3eval.config import Setup
from m3eval.console import say
from m3eval.reports import tracking
from m3eval.stages import embed, evaluate, search
from m3eval.stages.evaluate import Evaluated
from m3eval.stages.shards import require_whole


def run(setup: Setup) -> Evaluated | None:
    """Encodes what retrievers read from stores, searches, and scores.

    Returns:
        what was scored; None where the plan alone was asked for.
    """
    tracking.require(setup.cfg.report_to)  # and not after hours
    require_whole(setup, "m3eval run")
    if setup.needs_stores:
        say("\n== embed")
        embed.run(setup)
        if setup.cfg.plan_only:
            return None
    look_again(setup.layout.folder)
    say("\n== search")
    search.run(setup)
    look_again(setup.layout.folder)
    say("\n== evaluate")
    return evaluate.run(setup)
