"""Which systems of a benchmark differ by more than chance: a matrix of paired tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from m3eval.reference.published import AVERAGE
from m3eval.reports.pairwise import BETTER, WORSE
from m3eval.reports.site.boards import Board
from m3eval.reports.site.comparisons import PairedComparison


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
