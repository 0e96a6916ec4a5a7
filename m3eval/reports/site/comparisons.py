"""Paired tests that stand beside results: which system is better than which."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from m3eval.errors import UserError
from m3eval.layout import ComparisonFiles
from m3eval.records import read
from m3eval.seals import Seals, check_all

AGAIN = "Run `m3eval compare` again, or remove it."


@dataclass(frozen=True)
class PairVerdict:
    """What a test says about `system` minus `against`, as far as pages show it."""

    metric: str
    system: str
    against: str
    language: str
    difference: float  # points
    p_holm: float | None  # None: the test gave no number


@dataclass(frozen=True)
class _Settings:
    """How tests were made, as far as pages say it."""

    test: str
    alpha: float


@dataclass(frozen=True)
class _Comparison:
    """A comparison's JSON, as far as pages show it."""

    comparisons: list[PairVerdict]
    settings: _Settings
    files: Seals = field(default_factory=dict)  # the tables beside it
    sealed: str | None = None  # None: an earlier version made it


@dataclass(frozen=True)
class PairedComparison:
    """Paired tests of a result's systems, perhaps with those of other encoders."""

    folder: Path
    rows: list[PairVerdict]
    alpha: float
    test: str  # in words
    is_sealed: bool = False

    @cached_property
    def baseline(self) -> str | None:
        """What all others were held against, if that was one system."""
        against = {row.against for row in self.rows}
        return against.pop() if len(against) == 1 else None

    def pairs(self, metric: str, language: str) -> dict[tuple[str, str], PairVerdict]:
        """By system and what it was held against."""
        return {
            (row.system, row.against): row
            for row in self.rows
            if (row.metric, row.language) == (metric, language)
        }

    def significant(self, row: PairVerdict) -> bool:
        """Whether a row's corrected p value calls the difference one."""
        return row.p_holm is not None and row.p_holm < self.alpha


def read_comparison(folder: Path) -> PairedComparison | None:
    """A comparison's JSON or, where only its CSV is there, that with the usual alpha of 0.05.

    Raises:
        UserError: it, or a table beside it, is damaged or was edited; or it is no comparison.
    """
    files = ComparisonFiles(folder)
    if files.named("json").exists():
        content = read(files.named("json"), _Comparison, AGAIN)
        # Tables that were not handed on are no damage.
        there = {name: seal for name, seal in content.files.items() if (folder / name).exists()}
        check_all(folder, there, AGAIN)
        randomised = content.settings.test == "permutation"
        test = "paired randomisation test" if randomised else "paired t-test"
        words = f"{test}, two-sided, Holm-corrected"
        sealed = content.sealed is not None
        return PairedComparison(folder, content.comparisons, content.settings.alpha, words, sealed)
    if files.named("csv").exists():
        rows = _read_csv(files.named("csv"))
        return PairedComparison(folder, rows, 0.05, "paired test, Holm-corrected")
    return None


def _read_csv(path: Path) -> list[PairVerdict]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            # An empty cell is a number that the test did not give.
            rows = [
                {key: value or None for key, value in row.items()} for row in csv.DictReader(file)
            ]
        return msgspec.convert(rows, list[PairVerdict], strict=False)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is no comparison of m3eval: {error}. {AGAIN}") from error
