"""A benchmark's page: scores with marks and published rows, costs, significance, and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from m3eval.files import digest
from m3eval.quoting import literal
from m3eval.records import plain
from m3eval.reference.published import AVERAGE, tables
from m3eval.reports.pairwise import BETTER, WORSE
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.comparisons import PairedComparison
from m3eval.reports.site.costs import Chart, Cost, MeasuredSystem, quality_chart, system_cost
from m3eval.reports.site.surface import Surface
from m3eval.reports.site.words import RecordedCommand

CODE = "LANGUAGE"  # stands for a language in commands until a cell is chosen


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
    heat: float  # 0 for the lowest score of the table, 1 for the highest
    best: bool  # of its column


class SystemLine(NamedTuple):
    """A system's cells."""

    row: SystemRow
    number: int  # of the row on its board
    cells: list[Cell]


class PublishedRows(NamedTuple):
    """A published table, as far as it has the columns of ours."""

    id: str
    publication: str
    n: int  # languages that its average is over
    lacks: list[str]  # languages of ours that it does not have
    rows: list[tuple[str, list[float | None]]]  # system, and scores in the order of the columns


class MetricTable(NamedTuple):
    """Systems down, languages across, published systems below them."""

    metric: str
    lines: list[SystemLine]
    published: list[PublishedRows]
    comparison: PairedComparison | None  # where the marks come from


class PairCell(NamedTuple):
    """The row's system minus the column's."""

    difference: float  # points
    p: float | None
    mark: str  # ▲, ▼, or empty where the difference is not significant


class SignificanceMatrix(NamedTuple):
    """Systems against systems: what a comparison tested, and nothing else."""

    down: list[str]
    across: list[str]
    cells: dict[tuple[str, str], PairCell]  # by the systems of row and column
    metric: str
    language: str
    comparison: PairedComparison
    result: str  # the results that share the comparison


@dataclass(frozen=True)
class BoardPage:
    """Everything that the template of a benchmark's page is given."""

    board: Board
    columns: list[str]
    tables: list[MetricTable]
    costs: list[tuple[SystemRow, Cost]]
    measured: bool  # whether any cost is known
    chart: Chart | None
    matrices: list[SignificanceMatrix]
    surfaces: list[Surface]
    drilldown: bool  # whether there is one


def board_page(
    board: Board, runs: Mapping[str, Path], surfaces: list[Surface], drilldown: bool
) -> BoardPage:
    """What a benchmark's page shows.

    Args:
        board: the benchmark's results.
        runs: name of a result -> outputs/{benchmark}/{encoder}, where that is at hand.
        surfaces: the weights of its hybrids.
        drilldown: whether a page of single queries stands beside this one.
    """
    columns = [AVERAGE, *board.languages] if len(board.languages) > 1 else board.languages
    metric = board.metrics[0]
    costs = [(row, system_cost(row, runs.get(row.result.name))) for row in board.rows]
    measured = [
        MeasuredSystem(row.label, cost.bytes_per_document, score)
        for row, cost in costs
        if cost.bytes_per_document and (score := row.average(metric)[0]) is not None
    ]
    return BoardPage(
        board=board,
        columns=columns,
        tables=[metric_table(board, metric, columns) for metric in board.metrics],
        costs=costs,
        measured=any(cost.bytes_per_document or cost.seconds_per_query for _, cost in costs),
        chart=quality_chart(measured),
        matrices=significance_matrices(board, metric),
        surfaces=surfaces,
        drilldown=drilldown,
    )


def metric_table(board: Board, metric: str, columns: Sequence[str]) -> MetricTable:
    """The scores of all systems that have any in these columns, and published ones."""
    scores = [
        [row.score(metric, language_of(row, metric, column)) for column in columns]
        for row in board.rows
    ]
    measured = [score for of_row in scores for score in of_row if score is not None]
    low, high = scale(measured)
    best = [max(score or 0 for score in of_column) for of_column in zip(*scores, strict=True)]
    lines = []
    for number, (row, of_row) in enumerate(zip(board.rows, scores, strict=True)):
        if row.retriever not in row.result.content.scores.get(metric, {}):
            continue
        cells = []
        for column, score, best_score in zip(columns, of_row, best, strict=True):
            language = language_of(row, metric, column)
            heat, is_best = 0.0, False
            if score is not None:
                heat = round(max(0.0, score - low) / (high - low or 1), 2)
                is_best = round(score, 1) == round(best_score, 1)
            beside, mark = beside_score(row, metric, language), mark_of(row, metric, language)
            cells.append(Cell(score, column, beside, mark, heat, is_best))
        lines.append(SystemLine(row, number, cells))
    comparisons = (result.comparison for result in board.results)
    with_baseline = (each for each in comparisons if each and each.baseline)
    published = published_rows(board, metric, columns)
    return MetricTable(metric, lines, published, next(with_baseline, None))


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
    return next(iter(row.result.content.judged_queries)) if single else column


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


def published_rows(board: Board, metric: str, columns: Sequence[str]) -> list[PublishedRows]:
    """The published tables of this benchmark and metric, those over most languages first."""
    shown = []
    for table in tables():
        if (table.benchmark, table.metric) != (board.reference, metric):
            continue
        rows = []
        for row in table.rows:
            scores = dict(zip(table.languages, row.cells or [], strict=False))
            scores[AVERAGE] = row.average
            in_columns = [scores.get(column) for column in columns]
            if any(score is not None for score in in_columns):
                rows.append((row.system, in_columns))
        if rows:
            lacks = [language for language in board.languages if language not in table.languages]
            n = len(table.languages)
            shown.append(PublishedRows(table.id, table.publication, n, lacks, rows))
    return sorted(shown, key=lambda table: -table.n)


def significance_matrices(board: Board, metric: str) -> list[SignificanceMatrix]:
    """A matrix for each comparison; results may share a comparison."""
    comparisons: dict[Path, PairedComparison] = {}
    names: dict[Path, list[str]] = {}
    for result in board.results:
        if result.comparison:
            comparisons[result.comparison.folder] = result.comparison
            names.setdefault(result.comparison.folder, []).append(result.name)
    matrices = [
        significance_matrix(comparison, names[folder], metric)
        for folder, comparison in comparisons.items()
    ]
    return [matrix for matrix in matrices if matrix]


def significance_matrix(
    comparison: PairedComparison, results: list[str], metric: str
) -> SignificanceMatrix | None:
    """What a comparison tested over all languages; None: nothing with this metric."""
    averaged = any(row.language == AVERAGE for row in comparison.rows)
    language = AVERAGE if averaged else comparison.rows[0].language
    pairs = comparison.pairs(metric, language)
    if not pairs:
        return None
    systems = list(dict.fromkeys(name for pair in pairs for name in reversed(pair)))
    baselines = list(dict.fromkeys(against for _, against in pairs))
    cells = {}
    for (system, against), pair in pairs.items():
        significant = comparison.significant(pair)
        for key, difference in (
            ((system, against), pair.difference),
            ((against, system), -pair.difference),
        ):
            mark = BETTER if difference > 0 else WORSE
            cells[key] = PairCell(difference, pair.p_holm, mark if significant else "")
    down, across = systems, systems
    if len(baselines) == 1:  # no other column than the baseline's has anything in it
        down, across = [name for name in systems if name not in baselines], baselines
    return SignificanceMatrix(down, across, cells, metric, language, comparison, ", ".join(results))


def board_data(board: Board, commands: Mapping[str, RecordedCommand]) -> dict[str, Any]:
    """What a cell tells when it is chosen: the command that made it and what it rests on."""
    results = {}
    for result in board.results:
        command, origin = commands[result.name], result.content.provenance
        results[result.name] = {
            "encoder": result.content.encoder,
            "lines": command.lines(),
            "one_language": command.lines(f"languages=[{CODE}]"),
            "gone": command.gone,
            "compare": "comparison" if result.comparison else None,
            "made_with": origin.runs_made_with,
            "evaluated_with": origin.evaluated_with,
            "texts": {
                name: f"{texts.count:,} texts, SHA-256 {(texts.sha256 or '')[:12]}…"
                for name, texts in origin.texts.items()
            },
            "encoder_identity": digest(plain(origin.encoder))[:12] if origin.encoder else None,
        }
    rows = [
        {
            "label": row.label,
            "result": row.result.name,
            "retriever": row.retriever,
            "reads": str(row.reading),
            "distances": {
                f"{metric}/{language}": plain(distance)
                for (metric, retriever, language), distance in row.result.distances.items()
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
