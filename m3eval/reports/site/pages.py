"""Results -> pages: what templates are given, and the data that scripts read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from m3eval import __version__
from m3eval.reference.published import AVERAGE
from m3eval.reports.site.board_page import board_data, board_view
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.words import RecordedCommand

HERE = Path(__file__).resolve().parent
LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4})?")
CODE = "LANGUAGE"  # stands for a language in commands until a cell is chosen


@dataclass
class Site:
    """Everything the pages show."""

    boards: list[Board]
    commands: Mapping[str, RecordedCommand]  # result -> what it was made by
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
        view = board_view(site.runs, site.surfaces, site.drilldowns, board)
        pages[f"benchmark/{board.slug}.html"] = render("benchmark.html").render(
            common, root="../", **view
        )
        put(folder / "data" / f"board-{board.slug}.js", "board", board_data(board, site.commands))
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


def overview_rows(site: Site) -> list[tuple[str, str, str, dict[str, SystemRow]]]:
    """Encoder, retriever, what else tells it apart, and its rows by board. A cell that is taken makes another line."""
    lines: dict[tuple[str, str, int], dict[str, SystemRow]] = {}
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
                slug: row.result.content.scores.get(first[slug], {}).get(row.retriever, {})
                for slug, row in cells.items()
            }
            for *_, cells in overview_rows(site)
        ]
    }
