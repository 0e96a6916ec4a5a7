"""Results -> pages: what templates are given, and the data that scripts read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from m3eval import __version__
from m3eval.reference.published import AVERAGE
from m3eval.reports.results import NONE, shown
from m3eval.reports.site.board_page import board_data, board_page
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.columns import AS_JSON
from m3eval.reports.site.surface import Surface
from m3eval.reports.site.words import RecordedCommand

HERE = Path(__file__).resolve().parent
LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4})?")


@dataclass
class Site:
    """Everything the pages show."""

    boards: list[Board]
    # By the name of a result: what made it.
    commands: Mapping[str, RecordedCommand]
    # By the name of a result: outputs/{benchmark}/{encoder}, where that is at hand.
    runs: Mapping[str, Path] = field(default_factory=dict)
    # Slugs of the boards that have a page of single queries.
    drilldowns: set[str] = field(default_factory=set)
    # By the slug of a board: the weights of its hybrids.
    surfaces: dict[str, list[Surface]] = field(default_factory=dict)


class OverviewLine(NamedTuple):
    """A system over all benchmarks."""

    encoder: str
    retriever: str
    apart: str  # tells it from another line of this encoder and retriever; else empty
    cells: dict[str, SystemRow]  # by the slug of a board


def write(site: Site, folder: Path) -> list[Path]:
    """Writes all pages but the drill-down's data into an empty folder; returns the pages."""
    shutil.copytree(HERE / "static", folder / "assets")
    template = _environment().get_template
    common = {
        "boards": site.boards,
        "version": __version__,
        "lang_tag": language_tag,
        "average": AVERAGE,
    }
    pages = {"index.html": template("index.html").render(common, root="", **overview(site))}
    put(folder / "data" / "overview.js", "overview", overview_data(site))
    for board in site.boards:
        slug, has_drilldown = board.slug, board.slug in site.drilldowns
        page = board_page(board, site.runs, site.surfaces.get(slug, []), has_drilldown)
        html = template("benchmark.html").render(common, root="../", **vars(page))
        pages[f"benchmark/{slug}.html"] = html
        put(folder / "data" / f"board-{slug}.js", "board", board_data(board, site.commands))
        if has_drilldown:
            html = template("drilldown.html").render(common, root="../", board=board)
            pages[f"drilldown/{slug}.html"] = html
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Half a pair of UTF-16, which no text may hold, is shown as an unknown character.
        (folder / name).write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
    return [folder / name for name in pages]


def put(path: Path, key: str, value: Any) -> int:
    """Writes data as a script that hands it over; returns the script's bytes.

    A page that was opened from disk may load scripts, but fetch nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    script = f"m3eval.put({json.dumps(key)},{text});\n"
    return path.write_bytes(script.encode("utf-8", errors=AS_JSON))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = shown
    environment.filters["figure"] = _figure
    return environment


def _figure(value: float | None) -> str:
    """A cost: whole from 10 on, else to two significant digits."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def language_tag(name: str) -> str | None:
    """What `lang` says of a language.

    None where the name is no tag: a corpus of one's own may call its languages anything.
    """
    return name.replace("_", "-") if LANGUAGE.fullmatch(name) else None


def overview(site: Site) -> dict[str, Any]:
    """What the first page shows.

    Systems go down and benchmarks across; a cell is the average of the benchmark's first metric.
    """
    lines = overview_lines(site)
    languages = dict.fromkeys(language for board in site.boards for language in board.languages)
    best = {
        board.slug: max(
            line.cells[board.slug].average(board.metrics[0])[0] or 0
            for line in lines
            if board.slug in line.cells
        )
        for board in site.boards
    }
    return {
        "lines": lines,
        "languages": list(languages),
        "best": best,
        "retrievers": list(dict.fromkeys(line.retriever for line in lines)),
    }


def overview_lines(site: Site) -> list[OverviewLine]:
    """A line for each encoder and retriever.

    Where a benchmark has two results of them, the second stands on a line of its own.
    """
    lines: dict[tuple[str, str, int], dict[str, SystemRow]] = {}
    for board in site.boards:
        for row in board.rows:
            n = 0  # the first line that has no result of this benchmark yet
            while board.slug in lines.setdefault((row.encoder, row.retriever, n), {}):
                n += 1
            lines[row.encoder, row.retriever, n][board.slug] = row
    return [
        OverviewLine(encoder, retriever, next(iter(cells.values())).result.name if n else "", cells)
        for (encoder, retriever, n), cells in lines.items()
    ]


def overview_data(site: Site) -> dict[str, Any]:
    """Scores by language, in the order of the overview's lines, for the choice of a language."""
    metrics = {board.slug: board.metrics[0] for board in site.boards}
    return {
        "rows": [
            {
                slug: {
                    language: score
                    for language in row.result.content.judged_queries
                    if (score := row.score(metrics[slug], language)) is not None
                }
                for slug, row in line.cells.items()
            }
            for line in overview_lines(site)
        ]
    }
