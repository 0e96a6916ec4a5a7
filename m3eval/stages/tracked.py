"""What stage 2 tells trackers (`report_to=`): the scores of its tables, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterable

from m3eval.config import Setup
from m3eval.console import say
from m3eval.layout import Layout
from m3eval.manifests import RunCost, StoreCost
from m3eval.records import read
from m3eval.reports import tracking
from m3eval.reports.table import ScoreTable
from m3eval.reports.tracking import Tracked


def report(setup: Setup, table: ScoreTable) -> None:
    """Tells the trackers that are configured, if any.

    Raises:
        UserError: a tracker's package is not installed, or it refused.
    """
    trackers = setup.cfg.report_to
    if not trackers:
        return
    layout = setup.layout
    told = Tracked(
        project="m3eval",
        name=f"{layout.folder.parent.name}/{layout.folder.name}",
        scalars=scalars(table) | costs(layout, table.retrievers, table.languages),
        config=table.provenance.config,
        folder=layout.folder,
    )
    tracking.report(trackers, told)
    say(f"  reported to {', '.join(trackers)}: {len(told.scalars)} numbers as {told.name}")


def scalars(table: ScoreTable) -> dict[str, float]:
    """METRIC/RETRIEVER/LANGUAGE -> x 100, as the tables have them, where there is a score."""
    return {
        f"{metric}/{retriever}/{language}": float(score)
        for metric in table.metrics
        for retriever, column in table.scores(metric).items()
        for language, score in column.items()
        if not math.isnan(score)
    }


def costs(layout: Layout, retrievers: Iterable[str], languages: Iterable[str]) -> dict[str, float]:
    """cost/KIND -> how much, where stages 0 and 1 measured it."""
    found: dict[str, float] = {}
    stores = [read(files.cost, StoreCost) for files in layout.stores() if files.cost.exists()]
    if seconds := sum(store.seconds for store in stores):
        found["cost/tokens_per_second"] = sum(store.tokens for store in stores) / seconds
    languages = list(languages)
    for retriever in retrievers:
        runs = [layout.run(retriever, language) for language in languages]
        timed = [read(run.cost, RunCost) for run in runs if run.cost.exists()]
        if queries := sum(cost.queries for cost in timed):
            seconds = sum(cost.seconds for cost in timed)
            found[f"cost/milliseconds_per_query/{retriever}"] = 1000 * seconds / queries
    return found
