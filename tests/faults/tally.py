"""Counts cases: those of a test, and those of all tests by class, for the table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

SHOWN = 5  # cases of a test that did not survive, in its message


@dataclass
class Tally:
    """The cases of one test. A case that fails does not end the test; `verdict` does."""

    kind: str  # the row of the table
    cases: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """One case; it survives where its block raises no AssertionError."""
        self.cases += 1
        try:
            yield
        except AssertionError as error:
            self.lost.append(f"{name}: {error}")

    def verdict(self) -> None:
        """Fails the test where a case did not survive."""
        shown = "\n\n".join(self.lost[:SHOWN])
        assert not self.lost, f"{len(self.lost)} of {self.cases} cases did not survive:\n\n{shown}"


class Row(NamedTuple):
    """A row of the table."""

    kind: str
    cases: int
    survived: int
    seconds: float
    day: str  # when it was run: 2026-11-27


HEADER = "| class | cases | survived | seconds | run on |"


def markdown(rows: Sequence[Row]) -> str:
    """The table, with a last row of sums."""
    total = Row("all", *(sum(each[i] for each in rows) for i in (1, 2, 3)), "")
    lines = [HEADER, "|---|---|---|---|---|"]
    lines += [
        f"| {r.kind} | {r.cases:,} | {r.survived:,} | {r.seconds:,.0f} | {r.day} |"
        for r in (*rows, total)
    ]
    return "\n".join(lines) + "\n"


def rows_of(table: str) -> dict[str, Row]:
    """The rows of a table that `markdown` wrote, by class; without the sums."""
    rows = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(Row._fields) and cells[-1][:1].isdigit():
            kind, cases, survived, seconds, day = cells
            counts = (int(cell.replace(",", "")) for cell in (cases, survived, seconds))
            rows[kind] = Row(kind, *counts, day)
    return rows
