"""The three stages in one process."""

from __future__ import annotations

from m3eval.config import Setup
from m3eval.console import say
from m3eval.stages import embed, evaluate, search


def run(setup: Setup) -> None:
    """Encodes what retrievers read from stores, searches, and scores."""
    if setup.needs_stores:
        say("\n== embed")
        embed.run(setup)
        if setup.cfg.plan_only:
            return
    say("\n== search")
    search.run(setup)
    say("\n== evaluate")
    evaluate.run(setup)
