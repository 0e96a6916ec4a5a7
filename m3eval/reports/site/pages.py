"""Results -> pages: what templates are given, and the data that scripts read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from m3eval import __version__
from m3eval.commands.recorded import Command, command, literal
from m3eval.files import digest
from m3eval.reference.published import AVERAGE, tables
from m3eval.reports.pairwise import BETTER, WORSE
from m3eval.reports.site import costs
from m3eval.reports.site.results import Board, Comparison, Row

HERE = Path(__file__).resolve().parent
LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4})?")
CODE = "LANGUAGE"  # stands for a language in commands until a cell is chosen


@dataclass
class Site:
    """Everything the pages show."""

    boards: list[Board]
    runs: Mapping[str, Path] = field(
        default_factory=dict
    )  # result -> outputs/{benchmark}/{encoder}
    drilldowns: set[str] = field(default_factory=set)  # slugs of boards that have one
    surfaces: dict[str, list[dict[str, Any]]] = field(
        default_factory=dict
    )  # slug -> weight surfaces


def write(site: Site, folder: Path) -> list[Path]:
    """Writes all pages but the drill-down's data into an empty folder; returns the pages."""
    shutil.copytree(HERE / "static", folder / "assets")
    render = _environment().get_template
    common = {
        "boards": site.boards,
        "version": __version__,
        "lang_tag": language_tag,
        "average": AVERAGE,
    }
    pages = {"index.html": render("index.html").render(common, root="", **overview(site))}
    put(folder / "data" / "overview.js", "overview", overview_data(site))
    for board in site.boards:
        commands = {result.name: command(result.content["provenance"]) for result in board.results}
        view = board_view(site, board)
        pages[f"benchmark/{board.slug}.html"] = render("benchmark.html").render(
            common, root="../", **view
        )
        put(folder / "data" / f"board-{board.slug}.js", "board", board_data(board, commands))
        if board.slug in site.drilldowns:
            pages[f"drilldown/{board.slug}.html"] = render("drilldown.html").render(
                common, root="../", board=board
            )
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def put(path: Path, key: str, value: Any) -> int:
    """Writes data as a script that hands it over, for a page opened from disk may not fetch; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return path.write_bytes(f"m3eval.put({json.dumps(key)},{text});\n".encode())


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = lambda value: "–" if value is None else f"{value:.1f}"
    environment.filters["figure"] = lambda value: (
        "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    )
    return environment


def language_tag(name: str) -> str | None:
    """The tag of a language for `lang`, None where the name is none: own corpora may call theirs anything."""
    return name.replace("_", "-") if LANGUAGE.fullmatch(name) else None


def overview(site: Site) -> dict[str, Any]:
    """Systems down, benchmarks across; a cell is the average of the benchmark's first metric."""
    rows = overview_rows(site)
    languages = list(
        dict.fromkeys(language for board in site.boards for language in board.languages)
    )
    best = {
        board.slug: max(
            (
                cells[board.slug].average(board.metrics[0])[0] or 0
                for *_, cells in rows
                if board.slug in cells
            )
        )
        for board in site.boards
    }
    return {
        "rows": rows,
        "languages": languages,
        "best": best,
        "retrievers": list(dict.fromkeys(row[1] for row in rows)),
    }


def overview_rows(site: Site) -> list[tuple[str, str, str, dict[str, Row]]]:
    """Encoder, retriever, what else tells it apart, and its rows by board. A cell that is taken makes another line."""
    lines: dict[tuple[str, str, int], dict[str, Row]] = {}
    for board in site.boards:
        for row in board.rows:
            n = next(
                n
                for n in range(len(board.rows))
                if board.slug not in lines.get((row.encoder, row.retriever, n), {})
            )
            lines.setdefault((row.encoder, row.retriever, n), {})[board.slug] = row
    return [
        (encoder, retriever, "" if not n else next(iter(cells.values())).result.name, cells)
        for (encoder, retriever, n), cells in lines.items()
    ]


def overview_data(site: Site) -> dict[str, Any]:
    """Scores of every language, in the order of the overview's rows, for the choice of a language."""
    first = {board.slug: board.metrics[0] for board in site.boards}
    return {
        "rows": [
            {
                slug: row.result.content["scores"].get(first[slug], {}).get(row.retriever, {})
                for slug, row in cells.items()
            }
            for *_, cells in overview_rows(site)
        ]
    }


def board_view(site: Site, board: Board) -> dict[str, Any]:
    """What a benchmark's page shows."""
    columns = [AVERAGE, *board.languages] if len(board.languages) > 1 else board.languages
    found = [(row, costs.cost(row, site.runs.get(row.result.name))) for row in board.rows]
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
        "surfaces": site.surfaces.get(board.slug, []),
        "drilldown": board.slug in site.drilldowns,
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


def _cell(row: Row, metric: str, column: str) -> dict[str, Any]:
    single = column == AVERAGE and row.score(metric, AVERAGE) is None
    language = next(iter(row.result.content["judged_queries"])) if single else column
    distance = row.result.distances.get((metric, row.retriever, language))
    beside = ""
    if distance:
        comparable = not distance["verdict"].startswith("not comparable")
        beside = f"{distance['delta']:+.1f}" if comparable else f"[{distance['reference']}]"
    return {
        "value": row.score(metric, language),
        "column": column,
        "beside": beside,
        "mark": _mark(row, metric, language),
    }


def _mark(row: Row, metric: str, language: str) -> dict[str, str] | None:
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
    compared = [result for result in board.results if result.comparison]
    shared = {result.comparison.folder: result.comparison for result in compared}
    names = {
        folder: [result.name for result in compared if result.comparison.folder == folder]
        for folder in shared
    }
    found = [
        significance_matrix(comparison, names[folder], metric)
        for folder, comparison in shared.items()
    ]
    return [matrix for matrix in found if matrix]


def significance_matrix(
    comparison: Comparison, results: list[str], metric: str
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


def board_data(board: Board, commands: Mapping[str, Command]) -> dict[str, Any]:
    """What a cell tells when it is chosen: the command that made it and what it rests on."""
    results = {}
    for result in board.results:
        made, origin = commands[result.name], result.content["provenance"]
        results[result.name] = {
            "encoder": result.content["encoder"],
            "lines": made.lines(),
            "one_language": made.lines(f"languages=[{CODE}]"),
            "gone": made.gone,
            "compare": "comparison" if result.comparison else None,
            "made_with": origin["runs_made_with"],
            "evaluated_with": origin["evaluated_with"],
            "texts": {
                name: f"{texts['count']:,} texts, SHA-256 {texts['sha256'][:12]}…"
                for name, texts in origin["texts"].items()
            },
            "encoder_identity": digest(origin["encoder"])[:12] if origin["encoder"] else None,
        }
    rows = [
        {
            "label": row.label,
            "result": row.result.name,
            "retriever": row.retriever,
            "reads": row.reads,
            "distances": {
                f"{metric}/{language}": one
                for (metric, retriever, language), one in row.result.distances.items()
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
