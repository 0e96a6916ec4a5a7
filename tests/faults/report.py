"""results/reliability.md: what the faults found, and the long run's figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.faults.tally import Row, markdown, rows_of

PATH = Path(__file__).resolve().parents[2] / "results" / "reliability.md"


def write_rows(rows: Mapping[str, Row]) -> None:
    """Replaces rows of the table of `make faults`, by class; those of others stay, with their day.

    A class counts only where all of it was run: its modules are given whole.
    """
    kept = rows_of(_part("faults").search(PATH.read_text("utf-8"))["content"]) | rows
    _replace("faults", markdown([kept[kind] for kind in sorted(kept)]))


def write_long_run(figures: str) -> None:
    """Replaces the figures of `bench/long_run.py`."""
    _replace("long run", figures)


def _part(name: str) -> re.Pattern[str]:
    """What stands between a part's two marks."""
    begin, end = re.escape(f"<!-- {name} -->\n"), re.escape(f"<!-- end of {name} -->\n")
    return re.compile(f"(?P<begin>{begin})(?P<content>.*?)(?P<end>{end})", re.DOTALL)


def _replace(part: str, content: str) -> None:
    """Replaces what stands between a part's two marks."""
    text, n = _part(part).subn(
        lambda found: f"{found['begin']}\n{content}\n{found['end']}", PATH.read_text("utf-8")
    )
    assert n == 1, f"{PATH} has {n} places for {part}"
    PATH.write_text(text, "utf-8")
