"""A benchmark's tables of scores: systems down, languages across, what was published below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from m3eval.reference.published import AVERAGE
from m3eval.reports.pairwise import BETTER, WORSE
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.comparisons import PairedComparison
from m3eval.reports.site.published_rows import PublishedRows, published_rows


class Mark(NamedTuple):
    """What a paired test says about a cell."""

    sign: str  # ▲ or ▼
    words: str


class Cell(NamedTuple):
    """A system's score in a language, or its average."""

    value: float | None  # x 100; None: not measured
    column: str
    beside: str  # the distance to a published score, or such a score in brackets
    mark: Mark | None
    heat: float | None  # 0 for the lowest score of the table, 1 for the highest; None: no colour
    best: bool  # of its column
    over: list[str]  # the languages of an average; empty: it is none
    group: int  # of averages: those over the same languages; sorted and coloured apart


class SystemLine(NamedTuple):
    """A system's cells."""

    row: SystemRow
    number: int  # of the row on its board
    cells: list[Cell]


class MetricTable(NamedTuple):
    """Systems down, languages across, published systems below them."""

    metric: str
    lines: list[SystemLine]
    published: list[PublishedRows]  # a few of them
    folded: list[PublishedRows]  # all others: further systems, older versions, other tables
    comparison: PairedComparison | None  # where the marks come from

    @property
    def notes(self) -> list[str]:
        """What the signs beside scores mean, of those that stand in this table."""
        cells = [cell for line in self.lines for cell in line.cells]
        beside = [cell.beside for cell in cells if cell.beside]
        notes = []
        if any(not text.startswith("[") for text in beside):
            notes.append("+0.1: distance to the published score")
        if any(text.startswith("[") for text in beside):
            notes.append("[69.2]: published, but not comparable")
        if any(cell.group for cell in cells):
            notes.append("averages over other languages than most systems have stand apart")
        return notes


def metric_table(board: Board, metric: str, columns: Sequence[str]) -> MetricTable:
    """The scores of all systems that have any in these columns, and published ones."""
    rows = [
        (number, row)
        for number, row in enumerate(board.rows)
        if row.retriever in row.result.content.scores.get(metric, {})
    ]
    rows.sort(key=lambda numbered: board.place(numbered[1], metric))
    scores = [
        [row.score(metric, language_of(row, metric, column)) for column in columns]
        for _, row in rows
    ]
    groups = [board.group(row, metric) for _, row in rows]
    low, high = scale([score for of_row in scores for score in of_row if score is not None])
    best = [
        max(
            (
                score
                for score, group in zip(of_column, groups, strict=True)
                if score is not None and not (group and column == AVERAGE)
            ),
            default=None,
        )
        for column, of_column in zip(columns, zip(*scores, strict=True), strict=True)
    ]
    lines = []
    for (number, row), of_row, group in zip(rows, scores, groups, strict=True):
        cells = []
        for column, score, best_score in zip(columns, of_row, best, strict=True):
            language = language_of(row, metric, column)
            is_average = column == AVERAGE
            apart = group if is_average else 0
            heat, is_best = None, False
            if score is not None and best_score is not None and not apart:
                heat = round(max(0.0, score - low) / (high - low or 1), 2)
                is_best = round(score, 1) == round(best_score, 1)
            beside, mark = beside_score(row, metric, language), mark_of(row, metric, language)
            over = row.languages(metric) if is_average else []
            cells.append(Cell(score, column, beside, mark, heat, is_best, over, apart))
        lines.append(SystemLine(row, number, cells))
    comparisons = (result.comparison for result in board.results)
    with_baseline = (each for each in comparisons if each and each.baseline)
    published, folded = published_rows(board, metric, columns)
    return MetricTable(metric, lines, published, folded, next(with_baseline, None))


def scale(measured: Sequence[float]) -> tuple[float, float]:
    """The scores with the coldest and the hottest colour.

    One system far below the others must not give these one colour: the scale begins at Tukey's
    lower fence.
    """
    if not measured:
        return 0.0, 0.0
    first, third = np.percentile(measured, [25, 75])
    return max(min(measured), first - 1.5 * (third - first)), max(measured)


def language_of(row: SystemRow, metric: str, column: str) -> str:
    """The language whose score stands in a column: of a system with one language, its average."""
    single = column == AVERAGE and row.average(metric)[1] == 1
    return row.languages(metric)[0] if single else column


def beside_score(row: SystemRow, metric: str, language: str) -> str:
    """The distance to a published score, or that score in brackets where it is not comparable."""
    distance = row.result.distances.get((metric, row.retriever, language))
    if distance is None:
        return ""
    if distance.verdict.startswith("not comparable"):
        return f"[{distance.reference}]"
    return f"{distance.delta:+.1f}"


def mark_of(row: SystemRow, metric: str, language: str) -> Mark | None:
    """What the paired tests say about a cell, where all systems were held against one baseline."""
    comparison, encoder = row.result.comparison, row.result.encoder_name
    if comparison is None or comparison.baseline is None:
        return None
    for (system, against), pair in comparison.pairs(metric, language).items():
        of_encoder, _, retriever = system.rpartition("/")
        if (of_encoder or encoder, retriever) != (encoder, row.retriever):
            continue
        if comparison.significant(pair):
            up = pair.difference > 0
            words = f"significantly {'better' if up else 'worse'} than {against}"
            return Mark(BETTER if up else WORSE, words)
    return None
