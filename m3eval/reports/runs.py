"""What runs are like, on the terminal: their cost, scores by rank, overlap, and quality by length."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from m3eval.console import console, size

UNKNOWN = "-"


class Figures:
    """Figures of single languages, shown as their means; a nan counts for nothing."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )  # retriever -> column -> values
        self.overlaps: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(
            list
        )  # overlap@10, Jaccard@100
        self.lengths: dict[str, dict[str, list[list[float]]]] = defaultdict(
            lambda: defaultdict(list)
        )  # of what -> retriever
        self.costs: dict[str, list[dict[str, Any]]] = defaultdict(
            list
        )  # retriever -> {queries, seconds, runtime} or {}

    def show(self, metric: str) -> None:
        """Prints one table per question; `metric` is what quality by length is measured in."""
        languages = max(len(row["queries"]) for row in self.rows.values())
        mean = "" if languages == 1 else f", means over {languages} languages"
        self._costs()
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        columns = [
            name
            for name in columns
            if name not in ("queries", "found nothing", "documents", "bytes")
        ]
        found = table(
            f"scores by rank, their deviation, unjudged documents{mean}", "retriever", *columns
        )
        for name, row in self.rows.items():
            found.add_row(name, *(_figure(row.get(column, []), 3) for column in columns))
        console.print(found)
        if self.overlaps:
            found = table(
                f"what two retrievers have in common{mean}",
                "retrievers",
                "overlap@10",
                "Jaccard@100",
            )
            for pair, values in self.overlaps.items():
                found.add_row(
                    " and ".join(pair),
                    *(_figure(column, 3) for column in zip(*values, strict=True)),
                )
            console.print(found)
        for what, by_retriever in self.lengths.items():
            title = f"{metric} x 100 by length of {what} in characters, thirds within each language{mean}"
            found = table(title, "retriever", "shortest", "middle", "longest")
            for name, values in by_retriever.items():
                found.add_row(
                    name,
                    *(
                        _figure([100 * v for v in column], 1)
                        for column in zip(*values, strict=True)
                    ),
                )
            console.print(found)

    def _costs(self) -> None:
        found = table(
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
        for name, row in self.rows.items():
            cost = [one for one in self.costs[name] if one]
            spent, asked = sum(one["seconds"] for one in cost), sum(one["queries"] for one in cost)
            found.add_row(
                name,
                str(len(row["queries"])),
                f"{sum(row['queries']):,}",
                f"{sum(row['found nothing']):,}",
                f"{sum(row['documents']):,}",
                size(sum(row["bytes"])),
                f"{spent / asked:.2g}" if asked else UNKNOWN,
                ", ".join(dict.fromkeys(one["runtime"] for one in cost)) or UNKNOWN,
            )
        console.print(found)


def table(title: str, first: str, *others: str) -> Table:
    """A table whose first column stands to the left and all others to the right."""
    found = Table(title=title, title_justify="left", title_style="bold")
    found.add_column(first)
    for name in others:
        found.add_column(name, justify="right")
    return found


def _figure(values: Sequence[float], digits: int) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{np.mean(known):.{digits}f}" if known else UNKNOWN
