"""Systems held against each other by paired tests: the scores, what each test says, and its marks.

How they are shown and written is in `pairwise_tables.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from m3eval.metrics.ranking import Scores
from m3eval.metrics.significance import Paired
from m3eval.reading import approximate_lines
from m3eval.reference.published import AVERAGE

# The settings of a configuration by which tests are made.
SETTINGS = ("test", "resamples", "confidence", "alpha", "seed")
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
BETTER, WORSE = "▲", "▼"
NAMED = 5  # comparisons of which a remark tells


class PairResult(NamedTuple):
    """One comparison: `system` minus `against` in one language, or AVERAGE over all."""

    metric: str
    system: str
    against: str
    language: str
    paired: Paired
    p_holm: float


@dataclass(frozen=True)
class PairedTests:
    """Everything that the tables of a comparison state."""

    title: str
    metrics: list[str]
    languages: list[str]  # in the order of the columns
    systems: list[str]
    baseline: str | None  # None: every system against every other
    # By system and language: metric -> qid -> score in [0, 1].
    per_query: Mapping[tuple[str, str], Scores]
    results: list[PairResult]
    settings: dict[str, Any]  # see SETTINGS
    # Systems that read whole texts, at least in part, whatever lengths the title states.
    whole_texts: list[str]
    notes: list[str]  # differences between the runs that the user accepted
    provenance: dict[str, Any]
    approximate: Mapping[str, str] = field(default_factory=dict)  # by system: what its recall is
    elsewhere: list[str] = field(default_factory=list)  # what m3eval did not make, a sentence each
    in_int8: list[str] = field(default_factory=list)  # what was encoded in 8 bits, in words

    @property
    def columns(self) -> list[str]:
        """Languages as tables have them, the average first."""
        return [AVERAGE, *self.languages] if len(self.languages) > 1 else self.languages

    def scores(self, metric: str) -> dict[str, dict[str, float]]:
        """Means over all judged queries x 100: system -> column -> score."""
        table = {}
        for system in self.systems:
            means = {
                language: 100 * float(np.mean([*self.per_query[system, language][metric].values()]))
                for language in self.languages
            }
            average = {AVERAGE: float(np.mean([*means.values()]))} if len(means) > 1 else {}
            table[system] = average | means
        return table

    def best(self, metric: str) -> dict[str, float]:
        """The best score of every column, to one decimal, as tables print it."""
        table = self.scores(metric)
        return {
            column: max(round(scores[column], 1) for scores in table.values())
            for column in self.columns
        }

    @cached_property
    def letters(self) -> dict[str, str]:
        """What stands for a system where all pairs are compared: a ... z, then aa, ab ..."""
        names = [first + second for first in ["", *ALPHABET] for second in ALPHABET]
        return dict(zip(self.systems, names, strict=False))

    def mark(self, metric: str, system: str, column: str) -> str:
        """What the tests say about a cell.

        With a baseline: better or worse than it. Without one: the letters of the systems that this
        one is better than.
        """
        letters = []
        for result in self.results:
            if (result.metric, result.language) != (metric, column):
                continue
            if not result.p_holm < self.settings["alpha"]:  # a p that is not a number gives no mark
                continue
            up = result.paired.difference > 0
            if self.baseline and result.system == system:
                return BETTER if up else WORSE
            winner, loser = result.system, result.against
            if not up:
                winner, loser = loser, winner
            if not self.baseline and system == winner:
                letters.append(self.letters[loser])
        return ",".join(sorted(letters))

    def name(self, system: str) -> str:
        """A system as rows show it."""
        return system if self.baseline else f"{self.letters[system]} {system}"

    def legend(self, metric: str) -> list[str]:
        """What the marks mean and what they rest on."""
        settings = self.settings
        size = sum(result.metric == metric for result in self.results)
        meaning = "letters: better than these systems"
        if self.baseline:
            meaning = f"{BETTER} {WORSE} better, worse than {self.baseline}"
        test = "paired t-test"
        if settings["test"] == "permutation":
            test = (
                f"paired randomisation test, {settings['resamples']:,} resamples, seed "
                f"{settings['seed']}"
            )
        lines = [
            f"{meaning}: p < {settings['alpha']:g}, {test}, two-sided, Holm-corrected over {size} "
            f"comparisons; {AVERAGE}: mean of the languages' means"
        ]
        if self.whole_texts:
            lines.append(f"whole texts are read by {', '.join(self.whole_texts)}")
        lines += self.elsewhere + self.in_int8
        lines += approximate_lines(self.approximate)
        lines += self._remarks(metric)
        return lines + [f"accepted difference: {note}" for note in self.notes]

    def _remarks(self, metric: str) -> list[str]:
        """Why figures of some comparisons are not given."""
        by_remark: dict[str, list[str]] = {}
        for result in self.results:
            if result.metric == metric and result.paired.remark:
                name = f"{result.system} - {result.against} {result.language}"
                by_remark.setdefault(result.paired.remark, []).append(name)
        return [
            f"- in place of a figure: {remark} ({', '.join(names[:NAMED])}"
            + (f" and {len(names) - NAMED} more)" if len(names) > NAMED else ")")
            for remark, names in by_remark.items()
        ]

    def facts(self) -> list[dict[str, Any]]:
        """Every comparison as a row of figures; differences and intervals x 100."""
        rows = []
        for result in self.results:
            points = {
                name: 100 * getattr(result.paired, name) for name in ("difference", "low", "high")
            }
            names = {
                "metric": result.metric,
                "system": result.system,
                "against": result.against,
                "language": result.language,
            }
            rows.append(names | result.paired._asdict() | points | {"p_holm": result.p_holm})
        return rows

    def details(self, metric: str, columns: list[str]) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the comparisons in some of the columns, as people read them."""
        interval = f"{self.settings['confidence']:.0%} interval"
        header = ["systems", "language", "difference", interval, "p", "Holm", "d", "w/t/l"]
        rows = []
        for result in self.results:
            if result.metric != metric or result.language not in columns:
                continue
            pair = result.paired
            bounds = f"{100 * pair.low:+.2f} to {100 * pair.high:+.2f}"
            rows.append(
                [
                    f"{result.system} - {result.against}",
                    result.language,
                    f"{100 * pair.difference:+.2f}",
                    "-" if math.isnan(pair.low) else bounds,
                    _p(pair.p),
                    _p(result.p_holm),
                    "-" if pair.effect is None else f"{pair.effect:+.2f}",
                    f"{pair.wins}/{pair.ties}/{pair.losses}",
                ]
            )
        return header, rows


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.0001" if value < 0.0001 else f"{value:.4f}"
