"""Results -> pages: what templates are given, and the data that scripts read."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from m3eval import __version__
from m3eval.reference.published import AVERAGE
from m3eval.reports.plots.style import MOST
from m3eval.reports.results import NONE, shown
from m3eval.reports.site.board_page import board_data, board_page
from m3eval.reports.site.boards import Board
from m3eval.reports.site.columns import AS_JSON
from m3eval.reports.site.downloads import write_tables
from m3eval.reports.site.overview import groups, overview, overview_data
from m3eval.reports.site.surface import Surface
from m3eval.reports.site.words import RecordedCommand

HERE = Path(__file__).resolve().parent
LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z]{2,4})?")


@dataclass(frozen=True)
class About:
    """What the pages say of themselves, to readers and to whoever shows a preview of a link."""

    title: str = "Leaderboard"
    description: str = "Retrieval systems by benchmark and language, each score with its command."
    url: str | None = None  # where the site will stand; None: it is not known

    def address(self, page: str) -> str | None:
        """The public address of a page."""
        return f"{self.url.rstrip('/')}/{page}" if self.url else None


class PlacedPicture(NamedTuple):
    """A picture beside the pages."""

    file: str  # from the site's folder
    title: str  # what it shows, in words


@dataclass
class Site:
    """Everything the pages show."""

    boards: list[Board]
    # By the name of a result: what made it.
    commands: Mapping[str, RecordedCommand]
    # By the name of a result: outputs/{benchmark}/{encoder}, where that is at hand.
    runs: Mapping[str, Path] = field(default_factory=dict)
    about: About = field(default_factory=About)
    # Slugs of the boards that have a page of single queries.
    drilldowns: set[str] = field(default_factory=set)
    # By the slug of a board: the weights of its hybrids.
    surfaces: dict[str, list[Surface]] = field(default_factory=dict)
    # By the slug of a board: pictures of its results.
    pictures: dict[str, list[PlacedPicture]] = field(default_factory=dict)

    def leave_out(self, slug: str) -> None:
        """Takes back what was added of the single queries of a board."""
        self.drilldowns.discard(slug)
        self.surfaces.pop(slug, None)
        self.pictures.pop(slug, None)


def write(site: Site, folder: Path) -> list[Path]:
    """Writes all pages but the drill-down's data into an empty folder; returns the pages."""
    shutil.copytree(HERE / "static", folder / "assets")
    template = _environment().get_template
    common = {
        "boards": site.boards,
        "menu": groups(site.boards),
        "version": __version__,
        "about": site.about,
        "title": site.about.title,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "lang_tag": language_tag,
        "average": AVERAGE,
        "most_drawn": MOST,
    }
    first = template("index.html").render(
        common, root="", page="index.html", **overview(site.boards)
    )
    pages = {"index.html": first}
    write_tables(site.boards, folder / "data")
    put(folder / "data" / "overview.js", "overview", overview_data(site.boards))
    for board in site.boards:
        slug, has_drilldown = board.slug, board.slug in site.drilldowns
        page = board_page(board, site.runs, site.surfaces.get(slug, []), has_drilldown)
        name = f"benchmark/{slug}.html"
        pages[name] = template("benchmark.html").render(
            common, root="../", page=name, pictures=site.pictures.get(slug, []), **vars(page)
        )
        put(folder / "data" / f"board-{slug}.js", "board", board_data(board, site.commands))
        if has_drilldown:
            name = f"drilldown/{slug}.html"
            pages[name] = template("drilldown.html").render(
                common, root="../", page=name, board=board
            )
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
    environment.globals["versions"] = lambda by_name: ", ".join(map(" ".join, by_name.items()))
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
