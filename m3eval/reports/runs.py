"""What runs are like, on the terminal: cost, scores by rank, overlap, and quality by length."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from m3eval.console import console, size
from m3eval.manifests import RunCost
from m3eval.metrics.means import over_all

UNKNOWN = "-"


@dataclass
class RetrieverFigures:
    """Figures of one retriever, a value for each language; nan: not known."""

    queries: list[int] = field(default_factory=list)
    found_nothing: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    costs: list[RunCost] = field(default_factory=list)
    # Column of the table -> values: scores by rank, their deviation, unjudged documents.
    columns: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class RunFigures:
    """Figures of single languages, shown as their means over all of them, or not at all."""

    def __init__(self) -> None:
        self.retrievers: dict[str, RetrieverFigures] = defaultdict(RetrieverFigures)
        # Of two retrievers: overlap@10 and Jaccard@100 of each language.
        self.overlaps: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        # Length of what -> retriever -> scores of the shortest, middle and longest third.
        self.by_length: dict[str, dict[str, list[list[float]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def show(self, metric: str) -> None:
        """Prints one table per question; `metric` is what quality by length is measured in."""
        languages = max(len(figures.queries) for figures in self.retrievers.values())
        mean = "" if languages == 1 else f", means over {languages} languages"
        self._show_costs()
        names = dict.fromkeys(name for each in self.retrievers.values() for name in each.columns)
        title = f"scores by rank, their deviation, unjudged documents{mean}"
        shown = table_of(title, "retriever", *names)
        for retriever, figures in self.retrievers.items():
            cells = (_mean(figures.columns.get(name, []), 3) for name in names)
            shown.add_row(retriever, *cells)
        console.print(shown)
        if self.overlaps:
            title = f"what two retrievers have in common{mean}"
            shown = table_of(title, "retrievers", "overlap@10", "Jaccard@100")
            for pair, values in self.overlaps.items():
                cells = (_mean(column, 3) for column in zip(*values, strict=True))
                shown.add_row(" and ".join(pair), *cells)
            console.print(shown)
        for what, by_retriever in self.by_length.items():
            title = (
                f"{metric} x 100 by length of {what} in characters, thirds within each "
                f"language{mean}"
            )
            shown = table_of(title, "retriever", "shortest", "middle", "longest")
            for retriever, thirds in by_retriever.items():
                columns = zip(*thirds, strict=True)
                cells = (_mean([100 * score for score in column], 1) for column in columns)
                shown.add_row(retriever, *cells)
            console.print(shown)

    def _show_costs(self) -> None:
        shown = table_of(
            "runs",
            "retriever",
            "languages",
            "queries",
            "found nothing",
            "documents",
            "size",
            "s/query",
            "on",
        )
        for name, figures in self.retrievers.items():
            seconds = sum(cost.seconds for cost in figures.costs)
            queries = sum(cost.queries for cost in figures.costs)
            machines = dict.fromkeys(cost.runtime for cost in figures.costs)
            shown.add_row(
                name,
                str(len(figures.queries)),
                f"{sum(figures.queries):,}",
                f"{sum(figures.found_nothing):,}",
                f"{sum(figures.documents):,}",
                size(sum(figures.bytes)),
                f"{seconds / queries:.2g}" if queries else UNKNOWN,
                ", ".join(machines) or UNKNOWN,
            )
        console.print(shown)


def table_of(title: str, first: str, *others: str) -> Table:
    """A table whose first column stands to the left and all others to the right."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    shown.add_column(first)
    for name in others:
        shown.add_column(name, justify="right")
    return shown


def _mean(values: Sequence[float], digits: int) -> str:
    mean = over_all(None if math.isnan(value) else value for value in values)
    return UNKNOWN if mean is None else f"{mean:.{digits}f}"
