"""Scores over groups of queries, beside what a random order scores: below a benchmark's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from m3eval.reference.published import AVERAGE
from m3eval.reports.site.boards import Board, SystemRow


class GroupLine(NamedTuple):
    """A system's scores x 100; None: not measured."""

    row: SystemRow
    over_all: float | None
    cells: list[float | None]  # by group
    chance: float | None


class GroupTable(NamedTuple):
    """Systems down, groups of queries across: averages over the languages of each system."""

    metric: str
    names: list[str]
    lines: list[GroupLine]


def group_table(board: Board, metric: str) -> GroupTable | None:
    """The table of a metric; None where no result states groups of queries."""
    rows = [row for row in board.rows if metric in row.result.content.groups]
    rows.sort(key=lambda row: board.place(row, metric))
    names = list(dict.fromkeys(name for row in rows for name in _of(row, metric)))
    lines = [
        GroupLine(
            row,
            row.average(metric)[0],
            [_last(_of(row, metric).get(name, {})) for name in names],
            _last(row.result.content.chance.get(metric, {})),
        )
        for row in rows
        if _of(row, metric)
    ]
    return GroupTable(metric, names, lines) if lines else None


def _of(row: SystemRow, metric: str) -> dict[str, Mapping[str, float | None]]:
    """By group: language -> score."""
    groups = row.result.content.groups.get(metric, {})
    return {name: of[row.retriever] for name, of in groups.items() if row.retriever in of}


def _last(by_language: Mapping[str, float | None]) -> float | None:
    """The average over languages or, of one language, its score."""
    if AVERAGE in by_language or len(by_language) > 1:
        return by_language.get(AVERAGE)
    return next(iter(by_language.values()), None)
