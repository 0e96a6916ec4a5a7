"""Paired tests that stand beside results: which system is better than which."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.layout import ComparisonFiles
from m3eval.records import read_plain


class PairVerdict(NamedTuple):
    """What a test says about `system` minus `against`, as far as pages show it."""

    metric: str
    system: str
    against: str
    language: str
    difference: float  # points
    p_holm: float | None  # None: the test gave no number

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> PairVerdict:
        """From a row of a comparison's JSON or CSV."""
        p = row["p_holm"]
        return cls(
            row["metric"],
            row["system"],
            row["against"],
            row["language"],
            float(row["difference"]),
            None if p in ("", None) or math.isnan(float(p)) else float(p),
        )


@dataclass(frozen=True)
class PairedComparison:
    """Paired tests of a result's systems, perhaps with those of other encoders."""

    folder: Path
    rows: list[PairVerdict]
    alpha: float
    test: str  # in words

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
    """A comparison's JSON or, where only its CSV is there, that with the usual alpha of 0.05."""
    files = ComparisonFiles(folder)
    if files.named("json").exists():
        content = read_plain(files.named("json"))
        settings = content["settings"]
        randomised = settings["test"] == "permutation"
        test = "paired randomisation test" if randomised else "paired t-test"
        rows = [PairVerdict.of(row) for row in content["comparisons"]]
        words = f"{test}, two-sided, Holm-corrected"
        return PairedComparison(folder, rows, settings["alpha"], words)
    if files.named("csv").exists():
        with files.named("csv").open(encoding="utf-8", newline="") as file:
            rows = [PairVerdict.of(row) for row in csv.DictReader(file)]
        return PairedComparison(folder, rows, 0.05, "paired test, Holm-corrected")
    return None
