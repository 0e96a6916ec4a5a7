"""A benchmark's page: scores with marks and published rows, costs, significance, and commands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3eval.files import digest
from m3eval.quoting import literal
from m3eval.records import plain
from m3eval.reference.published import AVERAGE, tables
from m3eval.reports.pairwise import BETTER, WORSE
from m3eval.reports.site import costs
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.comparisons import PairedComparison
from m3eval.reports.site.words import RecordedCommand

CODE = "LANGUAGE"  # stands for a language in commands until a cell is chosen


def board_view(
    runs: Mapping[str, Path],
    surfaces: Mapping[str, list[dict[str, Any]]],
    drilldowns: Collection[str],
    board: Board,
) -> dict[str, Any]:
    """What a benchmark's page shows."""
    columns = [AVERAGE, *board.languages] if len(board.languages) > 1 else board.languages
    found = [(row, costs.cost(row, runs.get(row.result.name))) for row in board.rows]
    metric = board.metrics[0]
    points = [
        (row.label, cost.bytes_per_document, score)
        for row, cost in found
        if cost.bytes_per_document and (score := row.average(metric)[0]) is not None
    ]
    return {
        "board": board,
        "columns": columns,
        "tables": [metric_table(board, metric, columns) for metric in board.metrics],
        "costs": found,
        "measured": any(cost.bytes_per_document or cost.seconds_per_query for _, cost in found),
        "chart": costs.chart(points),
        "matrices": significance_matrices(board, metric),
        "surfaces": surfaces.get(board.slug, []),
        "drilldown": board.slug in drilldowns,
    }


def metric_table(board: Board, metric: str, columns: Sequence[str]) -> dict[str, Any]:
    """Systems down, languages across, published systems below them."""
    lines = []
    for number, row in enumerate(board.rows):
        cells = [_cell(row, metric, column) for column in columns]
        if any(cell["value"] is not None for cell in cells):
            lines.append({"row": row, "number": number, "cells": cells})
    values = [
        cell["value"] for line in lines for cell in line["cells"] if cell["value"] is not None
    ]
    # A system that is far below the others must not make them look alike: the scale begins at Tukey's lower fence.
    first, third = np.percentile(values, [25, 75])
    low, high = max(min(values), first - 1.5 * (third - first)), max(values)
    best = [
        max((line["cells"][i]["value"] or 0 for line in lines), default=0)
        for i in range(len(columns))
    ]
    for line in lines:
        for i, cell in enumerate(line["cells"]):
            if cell["value"] is not None:
                cell["heat"] = round(max(0.0, cell["value"] - low) / (high - low or 1), 2)
                cell["best"] = round(cell["value"], 1) == round(best[i], 1)
    comparison = next(
        (r.comparison for r in board.results if r.comparison and r.comparison.baseline), None
    )
    return {
        "metric": metric,
        "lines": lines,
        "published": _published(board, metric, columns),
        "comparison": comparison,
    }


def _cell(row: SystemRow, metric: str, column: str) -> dict[str, Any]:
    single = column == AVERAGE and row.score(metric, AVERAGE) is None
    language = next(iter(row.result.content.judged_queries)) if single else column
    distance = row.result.distances.get((metric, row.retriever, language))
    beside = ""
    if distance:
        comparable = not distance.verdict.startswith("not comparable")
        beside = f"{distance.delta:+.1f}" if comparable else f"[{distance.reference}]"
    return {
        "value": row.score(metric, language),
        "column": column,
        "beside": beside,
        "mark": _mark(row, metric, language),
    }


def _mark(row: SystemRow, metric: str, language: str) -> dict[str, str] | None:
    """What the paired tests say about a cell, where the system was held against one baseline."""
    comparison = row.result.comparison
    if comparison is None or comparison.baseline is None:
        return None
    for (system, against), found in comparison.pairs(metric, language).items():
        encoder, _, retriever = system.rpartition("/")
        if (encoder or row.result.encoder_name, retriever) != (
            row.result.encoder_name,
            row.retriever,
        ):
            continue
        if comparison.significant(found):
            up = found["difference"] > 0
            return {
                "sign": BETTER if up else WORSE,
                "words": f"significantly {'better' if up else 'worse'} than {against}",
            }
    return None


def _published(board: Board, metric: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Published tables of this benchmark and metric: rows as cells in the order of the columns."""
    found = []
    for table in tables():
        if (table.benchmark, table.metric) != (board.reference, metric) or not {
            *table.languages
        } & {*columns}:
            continue
        rows = []
        for row in table.rows:
            values = dict(zip(table.languages, row.cells or [], strict=False)) | {
                AVERAGE: row.average
            }
            if any(values.get(column) is not None for column in columns):
                rows.append((row.system, [values.get(column) for column in columns]))
        found.append(
            {
                "id": table.id,
                "publication": table.publication,
                "n": len(table.languages),
                "rows": rows,
            }
        )
    return sorted(found, key=lambda table: -table["n"])


def significance_matrices(board: Board, metric: str) -> list[dict[str, Any]]:
    """One for each comparison; results may share one."""
    comparisons: dict[Path, PairedComparison] = {}
    names: dict[Path, list[str]] = {}
    for result in board.results:
        if result.comparison:
            comparisons[result.comparison.folder] = result.comparison
            names.setdefault(result.comparison.folder, []).append(result.name)
    matrices = [
        significance_matrix(comparison, names[folder], metric)
        for folder, comparison in comparisons.items()
    ]
    return [matrix for matrix in matrices if matrix]


def significance_matrix(
    comparison: PairedComparison, results: list[str], metric: str
) -> dict[str, Any] | None:
    """Systems against systems over all languages: what a comparison tested, and nothing else."""
    language = (
        AVERAGE
        if any(row["language"] == AVERAGE for row in comparison.rows)
        else comparison.rows[0]["language"]
    )
    pairs = comparison.pairs(metric, language)
    if not pairs:
        return None
    names = list(dict.fromkeys(name for pair in pairs for name in reversed(pair)))
    baselines = {against for _, against in pairs}
    cells = {}
    for (system, against), row in pairs.items():
        for sign, key in ((1, (system, against)), (-1, (against, system))):
            cells[key] = {
                "difference": sign * row["difference"],
                "p": row["p_holm"],
                "mark": (BETTER if sign * row["difference"] > 0 else WORSE)
                if comparison.significant(row)
                else "",
            }
    return {
        # Of a comparison with one baseline only its column has anything in it.
        "down": names if len(baselines) > 1 else [name for name in names if name not in baselines],
        "across": names if len(baselines) > 1 else [*baselines],
        "cells": cells,
        "metric": metric,
        "language": language,
        "comparison": comparison,
        "result": ", ".join(results),
    }


def board_data(board: Board, commands: Mapping[str, RecordedCommand]) -> dict[str, Any]:
    """What a cell tells when it is chosen: the command that made it and what it rests on."""
    results = {}
    for result in board.results:
        made, origin = commands[result.name], result.content.provenance
        results[result.name] = {
            "encoder": result.content.encoder,
            "lines": made.lines(),
            "one_language": made.lines(f"languages=[{CODE}]"),
            "gone": made.gone,
            "compare": "comparison" if result.comparison else None,
            "made_with": origin.runs_made_with,
            "evaluated_with": origin.evaluated_with,
            "texts": {
                name: f"{texts.count:,} texts, SHA-256 {(texts.sha256 or '')[:12]}…"
                for name, texts in origin.texts.items()
            },
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
