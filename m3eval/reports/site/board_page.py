"""A benchmark's page: scores with marks and published rows, costs, significance, and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3eval.files import digest
from m3eval.manifests import TextIdentity
from m3eval.quoting import literal
from m3eval.records import plain
from m3eval.reference.published import AVERAGE
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.costs import Chart, Cost, MeasuredSystem, quality_chart, system_cost
from m3eval.reports.site.query_groups import GroupTable, group_table
from m3eval.reports.site.score_tables import MetricTable, metric_table
from m3eval.reports.site.significance import SignificanceMatrix, significance_matrices
from m3eval.reports.site.surface import Surface
from m3eval.reports.site.words import RecordedCommand

CODE = "LANGUAGE"  # stands for a language in commands until a cell is chosen


@dataclass(frozen=True)
class BoardPage:
    """Everything that the template of a benchmark's page is given."""

    board: Board
    columns: list[str]
    tables: list[MetricTable]
    groups: dict[str, GroupTable]  # by metric; empty: no result states groups of queries
    costs: list[tuple[SystemRow, Cost]]
    measured: bool  # whether any cost is known
    chart: Chart | None
    matrices: list[SignificanceMatrix]
    surfaces: list[Surface]
    drilldown: bool  # whether there is one


def board_page(
    board: Board, runs: Mapping[str, Path], surfaces: list[Surface], drilldown: bool
) -> BoardPage:
    """What a benchmark's page shows.

    Args:
        board: the benchmark's results.
        runs: name of a result -> outputs/{benchmark}/{encoder}, where that is at hand.
        surfaces: the weights of its hybrids.
        drilldown: whether a page of single queries stands beside this one.
    """
    columns = [AVERAGE, *board.languages] if len(board.languages) > 1 else board.languages
    metric = board.metrics[0]
    costs = [(row, system_cost(row, runs.get(row.result.name))) for row in board.rows]
    measured = [
        MeasuredSystem(row.label, cost.bytes_per_document, score)
        for row, cost in costs
        if cost.bytes_per_document and (score := row.average(metric)[0]) is not None
    ]
    return BoardPage(
        board=board,
        columns=columns,
        tables=[metric_table(board, metric, columns) for metric in board.metrics],
        groups={name: table for name in board.metrics if (table := group_table(board, name))},
        costs=costs,
        measured=any(cost.bytes_per_document or cost.seconds_per_query for _, cost in costs),
        chart=quality_chart(measured),
        matrices=significance_matrices(board, metric),
        surfaces=surfaces,
        drilldown=drilldown,
    )


def board_data(board: Board, commands: Mapping[str, RecordedCommand]) -> dict[str, Any]:
    """What a cell tells when it is chosen: the command that made it and what it rests on."""
    results = {}
    for result in board.results:
        command, origin = commands[result.name], result.content.provenance
        results[result.name] = {
            "encoder": result.content.encoder,
            "lines": command.lines(),
            "one_language": command.lines(f"languages=[{CODE}]"),
            "gone": command.gone,
            "compare": "comparison" if result.comparison else None,
            "made_with": origin.runs_made_with,
            "evaluated_with": origin.evaluated_with,
            "texts": {name: _said(texts) for name, texts in origin.texts.items()},
            "encoder_identity": digest(plain(origin.encoder))[:12] if origin.encoder else None,
        }
    rows = [
        {
            "label": row.label,
            "result": row.result.name,
            "retriever": row.retriever,
            "reads": str(row.reading),
            "distances": {
                f"{metric}/{language}": plain(distance)
                for (metric, retriever, language), distance in row.result.distances.items()
                if retriever == row.retriever
            },
        }
        for row in board.rows
    ]
    return {
        "results": results,
        "rows": rows,
        "queries": board.queries,
        "literals": {name: literal(name) for name in board.languages},
        "placeholder": CODE,
    }


def _said(texts: TextIdentity) -> str:
    """What texts were, as far as a record says it: anybody's may lack number and hash."""
    count = "unknown number of" if texts.count is None else f"{texts.count:,}"
    hashes = [f"{name} {value[:12]}…" for name, value in texts.hashes.items()]
    return f"{count} texts, {', '.join(hashes) or 'hash unknown'}"
