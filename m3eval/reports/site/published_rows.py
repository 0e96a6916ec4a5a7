"""Published systems below a benchmark's own: a few first, all others folded, and what parts them.

A reader sets numbers of one column side by side. So a published number that was made by other
rules, of other texts or over other languages has a mark in its own cell, and its table says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from m3eval.comparable import Comparable, Obstacle
from m3eval.reading import Heading
from m3eval.reference.published import AVERAGE, PublishedRow, PublishedTable, tables
from m3eval.reports.distance import same_texts
from m3eval.reports.site.boards import Board
from m3eval.reports.site.results import SiteResult

FEWEST, MOST = 5, 8  # published systems that a page shows before somebody asks for more


class PublishedCell(NamedTuple):
    """A published score in one of our columns."""

    value: float | None  # x 100; None: not published
    apart: str  # why it is not to be held against the column's other scores; empty: it may be
    over: int  # languages of an average; 0: it is none


class PublishedLine(NamedTuple):
    """A published system."""

    system: str
    reads: str  # how much of a document
    cells: list[PublishedCell]  # in the order of the columns


class PublishedRows(NamedTuple):
    """Systems of one published table, as far as it has the columns of ours."""

    id: str
    publication: str
    lacks: list[str]  # languages of ours that it does not have
    obstacles: list[str]  # why its scores are not to be held against ours; empty: they may be
    lines: list[PublishedLine]


def published_rows(
    board: Board, metric: str, columns: Sequence[str]
) -> tuple[list[PublishedRows], list[PublishedRows]]:
    """The published systems of a benchmark and metric: those shown first, and all others.

    First come those of the widest table whose protocol is stated, best first where there are more
    than MOST; further tables only where it has fewer than FEWEST.
    """
    nothing = [None] * len(columns)
    fitting = [
        (table, rows)
        for table in tables()
        if (table.benchmark, table.metric) == (board.reference, metric)
        and (rows := [row for row in table.rows if _scores(table, row, columns) != nothing])
    ]
    fitting.sort(key=lambda pair: (-len(pair[0].languages), -_stated(pair[1])))
    shown, folded, n = [], [], 0
    for table, rows in fitting:
        room = MOST if n == 0 else max(0, FEWEST - n)
        ranked = sorted(
            rows, key=lambda row: (row.settings is None, -_mean(_scores(table, row, columns)))
        )
        first = ranked[:room]
        for part, into in (
            ([row for row in rows if row in first], shown),
            ([row for row in rows if row not in first], folded),
        ):
            if part:
                into.append(_rows_of(board, table, part, columns))
        n += len(first)
    return shown, folded


def _rows_of(
    board: Board, table: PublishedTable, rows: Sequence[PublishedRow], columns: Sequence[str]
) -> PublishedRows:
    verdicts = [obstacles(result, table) for result in board.results]
    verdict = min(verdicts, key=lambda verdict: len(verdict.obstacles))
    reasons = [str(obstacle) for obstacle in verdict.obstacles]
    n, here = len(table.languages), len(board.languages)
    of_average = list(reasons)
    if {*table.languages} != {*board.languages}:
        of_average.append(f"an average over {n} {_languages(n)}, here over {here}")
    lines = []
    for row in rows:
        cells = [
            PublishedCell(
                score,
                "; ".join(of_average if column == AVERAGE else reasons),
                n if column == AVERAGE else 0,
            )
            for column, score in zip(columns, _scores(table, row, columns), strict=True)
        ]
        length = row.max_document_length
        lines.append(PublishedLine(row.system, f"{length} tokens" if length else "", cells))
    lacks = [language for language in board.languages if language not in table.languages]
    return PublishedRows(table.id, table.publication, lacks, reasons, lines)


def obstacles(result: SiteResult, table: PublishedTable) -> Comparable:
    """Why the scores of a result and of a published table are not of the same texts and rules.

    The systems, and how much of a text each of them reads, may differ: that is what tables show.
    """
    heading = Heading.configured(result.config)
    verdict = Comparable()
    if heading.subset:
        verdict += _because("subset", "here only a part of the benchmark was searched")
    if heading.own_document_excluded:
        verdict += _because("own", "here a query's own document is left out")
    texts = result.content.provenance.texts
    documents = next((each for name, each in texts.items() if name.startswith("corpus")), None)
    if documents is None:
        return verdict + _because("texts", "what was read here is not known")
    return verdict + same_texts(table, documents)


def _because(where: str, reason: str) -> Comparable:
    return Comparable((Obstacle(where, reason),))


def _scores(table: PublishedTable, row: PublishedRow, columns: Sequence[str]) -> list[float | None]:
    by_language = dict(zip(table.languages, row.cells or [], strict=False))
    return [(by_language | {AVERAGE: row.average}).get(column) for column in columns]


def _mean(scores: Sequence[float | None]) -> float:
    return fmean([score for score in scores if score is not None] or [0.0])


def _stated(rows: Sequence[PublishedRow]) -> int:
    """How many rows have their depth and weights stated."""
    return sum(row.settings is not None for row in rows)


def _languages(n: int) -> str:
    return "language" if n == 1 else "languages"
