"""results/reliability.md: what the faults found, and the long run's figures."""

from __future__ import annotations

import re
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "results" / "reliability.md"


def write_table(table: str) -> None:
    """Replaces the table of `make faults`."""
    _replace("faults", table)


def write_long_run(figures: str) -> None:
    """Replaces the figures of `bench/long_run.py`."""
    _replace("long run", figures)


def _replace(part: str, content: str) -> None:
    """Replaces what stands between a part's two marks."""
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->\n"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    text, n = re.subn(
        pattern, lambda _: f"{begin}\n{content}\n{end}", PATH.read_text("utf-8"), flags=re.DOTALL
    )
    assert n == 1, f"{PATH} has {n} places for {part}"
    PATH.write_text(text, "utf-8")
