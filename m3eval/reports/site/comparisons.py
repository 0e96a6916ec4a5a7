"""Paired tests that stand beside results: which system is better than which."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m3eval.layout import ComparisonFiles
from m3eval.records import read_record

NAMES = ("metric", "system", "against", "language")  # columns that are no numbers


@dataclass(frozen=True)
class PairedComparison:
    """Paired tests of a result's systems, perhaps with those of other encoders."""

    folder: Path
    # metric, system, against, language, difference, low, high, p, p_holm, wins, ties, losses
    rows: list[dict[str, Any]]
    alpha: float
    test: str  # in words

    @cached_property
    def baseline(self) -> str | None:
        """What all others were held against, if that was one system."""
        against = {row["against"] for row in self.rows}
        return against.pop() if len(against) == 1 else None

    def pairs(self, metric: str, language: str) -> dict[tuple[str, str], dict[str, Any]]:
        """(system, against) -> row."""
        return {
            (r["system"], r["against"]): r
            for r in self.rows
            if (r["metric"], r["language"]) == (metric, language)
        }

    def significant(self, row: Mapping[str, Any]) -> bool:
        """Whether a row's corrected p value calls the difference one."""
        return row["p_holm"] is not None and row["p_holm"] < self.alpha


def read_comparison(folder: Path) -> PairedComparison | None:
    """A comparison's JSON or, where only its CSV was kept, that with the usual threshold of 0.05."""
    files = ComparisonFiles(folder)
    if files.named("json").exists():
        content = read_record(files.named("json"))
        settings = content["settings"]
        randomised = settings["test"] == "permutation"
        test = "paired randomisation test" if randomised else "paired t-test"
        words = f"{test}, two-sided, Holm-corrected"
        return PairedComparison(folder, content["comparisons"], settings["alpha"], words)
    if files.named("csv").exists():
        with files.named("csv").open(encoding="utf-8", newline="") as file:
            rows = [
                {key: value if key in NAMES else _number(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
        return PairedComparison(folder, rows, 0.05, "paired test, Holm-corrected")
    return None


def _number(text: str) -> float | None:
    value = float(text) if text else math.nan
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and "." not in text else value
