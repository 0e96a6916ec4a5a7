"""Tables of systems held against each other: systems down, languages across, and every test in full."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.table import Table

from m3eval.console import console, say
from m3eval.files import whole_file, write_json
from m3eval.layout import ComparisonFiles
from m3eval.lazy import pandas as pd
from m3eval.metrics.ranking import Scores
from m3eval.metrics.significance import Paired
from m3eval.reference.published import AVERAGE
from m3eval.reports import latex

if TYPE_CHECKING:
    from pandas import DataFrame

# Of a configuration: what the tests are made by.
SETTINGS = ("test", "resamples", "confidence", "alpha", "seed")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FRAME = 3  # characters around a cell: a space on either side and a line
BETTER, WORSE = "▲", "▼"


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
    """Everything the tables state."""

    title: str
    metrics: list[str]
    languages: list[str]  # in the order of the columns
    systems: list[str]
    baseline: str | None  # None: every system against every other
    per_query: dict[tuple[str, str], Scores]  # (system, language) -> metric -> qid -> score
    results: list[PairResult]
    settings: dict[str, Any]  # test, resamples, confidence, alpha, seed
    uncut: list[
        str
    ]  # systems that read whole texts, at least in part, whatever lengths the title states
    notes: list[str]  # differences between the runs that the user accepted
    provenance: dict[str, Any]

    def scores(self, metric: str) -> DataFrame:
        """Means over all judged queries x 100: a row per system, a column per language, their average first."""
        frame = pd.DataFrame(
            {
                language: [
                    100 * np.mean([*self.per_query[name, language][metric].values()])
                    for name in self.systems
                ]
                for language in self.languages
            },
            index=self.systems,
        )
        if len(self.languages) > 1:
            frame.insert(0, AVERAGE, frame.mean(axis=1))
        return frame

    @cached_property
    def letters(self) -> dict[str, str]:
        """What stands for a system where all pairs are compared: a ... z, then aa, ab ..."""
        rounds = ["", *LETTERS]
        names = [first + second for first in rounds for second in LETTERS]
        return dict(zip(self.systems, names, strict=False))

    def mark(self, metric: str, system: str, language: str) -> str:
        """What the tests say about a cell: better or worse than the baseline, or the letters of what it is better than."""
        marks = []
        for found in self.results:
            if (found.metric, found.language) != (
                metric,
                language,
            ) or not found.p_holm < self.settings["alpha"]:
                continue
            up = found.paired.difference > 0
            if self.baseline and found.system == system:
                return BETTER if up else WORSE
            if not self.baseline and system == (found.system if up else found.against):
                marks.append(self.letters[found.against if up else found.system])
        return ",".join(sorted(marks))

    def name(self, system: str) -> str:
        """A system as rows show it."""
        return system if self.baseline else f"{self.letters[system]} {system}"

    def legend(self, metric: str) -> list[str]:
        """What the marks mean and what they rest on."""
        family = [found for found in self.results if found.metric == metric]
        tests = {
            "permutation": f"paired randomisation test, {self.settings['resamples']:,} resamples, seed {self.settings['seed']}",
            "t": "paired t-test",
        }
        said = (
            f"{BETTER} {WORSE} better, worse than {self.baseline}"
            if self.baseline
            else "letters: better than these systems"
        )
        rests = (
            f"{said}: p < {self.settings['alpha']:g}, {tests[self.settings['test']]}, two-sided, Holm-corrected over "
            f"{len(family)} comparisons; {AVERAGE}: mean of the languages' means"
        )
        whole = (
            [f"whole texts are read by {', '.join(self.whole_texts)}"] if self.whole_texts else []
        )
        return [rests, *whole, *(f"accepted difference: {note}" for note in self.notes)]

    def facts(self) -> DataFrame:
        """Every comparison as a row; differences and intervals x 100."""
        rows = []
        for metric, system, against, language, paired, p_holm in self.results:
            values = paired._asdict() | {
                name: 100 * getattr(paired, name) for name in ("difference", "low", "high")
            }
            rows.append(
                {"metric": metric, "system": system, "against": against, "language": language}
                | values
                | {"p_holm": p_holm}
            )
        return pd.DataFrame(rows)

    def details(self, metric: str, languages: list[str]) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the comparisons in some of the languages, as people read them."""
        header = [
            "systems",
            "language",
            "difference",
            f"{self.settings['confidence']:.0%} interval",
            "p",
            "Holm",
            "d",
            "w/t/l",
        ]
        rows = []
        for found in self.results:
            if found.metric == metric and found.language in languages:
                pair = found.paired
                rows.append(
                    [
                        f"{found.system} - {found.against}",
                        found.language,
                        f"{100 * pair.difference:+.2f}",
                        "-"
                        if math.isnan(pair.low)
                        else f"{100 * pair.low:+.2f} to {100 * pair.high:+.2f}",
                        _p(pair.p),
                        _p(found.p_holm),
                        "-" if pair.effect is None else f"{pair.effect:+.2f}",
                        f"{pair.wins}/{pair.ties}/{pair.losses}",
                    ]
                )
        return header, rows

    @property
    def columns(self) -> list[str]:
        """Languages as tables have them, the average first."""
        return [AVERAGE, *self.languages] if len(self.languages) > 1 else self.languages

    @property
    def first(self) -> list[str]:
        """The column that says most: the average, or the only language."""
        return self.columns[:1]


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def show(tests: PairedTests) -> None:
    """Prints, per metric, scores with marks and the comparisons over all.

    Systems stand down and languages across, in as many tables as the terminal needs to show each in full.
    """
    for metric in tests.metrics:
        frame = tests.scores(metric)
        cells = {
            column: [
                f"{value:.1f} {tests.mark(metric, system, column):1}"
                for system, value in frame[column].items()
            ]
            for column in frame.columns
        }
        names = [tests.name(system) for system in frame.index]
        for shown in _fitting(cells, console.width - max(map(len, (*names, "system"))) - FRAME - 1):
            table = Table(
                title=f"{metric} x 100 · {tests.title}", title_justify="left", title_style="bold"
            )
            table.add_column("system", no_wrap=True)
            for column in shown:
                table.add_column(column, justify="right", no_wrap=True)
            for i, name in enumerate(names):
                table.add_row(name, *(cells[column][i] for column in shown))
            console.print(table)
        for line in tests.legend(metric):
            say(line)
        header, rows = tests.details(metric, tests.first)
        say(f"{metric}: differences x 100")
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        for row in (header, *rows):
            say(
                "  ".join(
                    f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}"
                    for i, (cell, w) in enumerate(zip(row, widths, strict=True))
                )
            )
    say(
        "d: Cohen's d of paired differences; w/t/l: queries won, tied, lost; every language's figures are in the files"
    )


def _fitting(cells: Mapping[str, Sequence[str]], room: int) -> Iterator[list[str]]:
    """Columns in groups that fit `room` characters, at least one in each."""
    shown, left = [], room
    for column, texts in cells.items():
        width = max(map(len, (column, *texts))) + FRAME
        if shown and width > left:
            yield shown
            shown, left = [], room
        shown.append(column)
        left -= width
    yield shown


def write(tests: PairedTests, files: ComparisonFiles) -> list[Path]:
    """Writes the tables as Markdown, LaTeX, CSV and JSON; returns the paths."""
    writers: dict[str, Callable[[PairedTests], str]] = {
        "md": _markdown,
        "tex": _latex,
        "csv": lambda tests: tests.facts().to_csv(index=False, float_format="%.6g"),
    }
    for suffix, text in writers.items():
        with whole_file(files.named(suffix)) as part:
            part.write_text(text(tests), encoding="utf-8")
    write_json(files.named("json"), _json(tests))
    return [files.named(suffix) for suffix in (*writers, "json")]


def _markdown(tests: PairedTests) -> str:
    lines = []
    for metric in tests.metrics:
        frame = tests.scores(metric)
        best = frame.round(1).max()
        lines += [
            f"### {metric} x 100 · {tests.title}",
            "",
            "| system | " + " | ".join(frame.columns) + " |",
        ]
        lines.append("|---|" + "---:|" * len(frame.columns))
        for system, row in frame.iterrows():
            cells = [
                (f"**{value:.1f}**" if round(value, 1) == best[column] else f"{value:.1f}")
                + (f"<sup>{mark}</sup>" if (mark := tests.mark(metric, system, column)) else "")
                for column, value in row.items()
            ]
            lines.append(f"| {tests.name(system)} | {' | '.join(cells)} |")
        lines += ["", *(part for line in tests.legend(metric) for part in (line, ""))]
        header, rows = tests.details(metric, tests.columns)
        lines += ["| " + " | ".join(header) + " |", "|---|---|" + "---:|" * (len(header) - 2)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    return "\n".join(lines)


def _latex(tests: PairedTests) -> str:
    signs = {BETTER: r"\uparrow", WORSE: r"\downarrow"}

    def cell(text: str, best: bool, mark: str) -> str:
        sign = signs.get(mark, rf"\mathrm{{{mark}}}")
        return (rf"\textbf{{{text}}}" if best else text) + (f"$^{{{sign}}}$" if mark else "")

    parts = [latex.PREAMBLE + "\n"]
    for metric in tests.metrics:
        frame = tests.scores(metric)
        best = frame.round(1).max()
        rows = [
            [
                latex.escape(tests.name(system)),
                *(
                    cell(f"{v:.1f}", round(v, 1) == best[c], tests.mark(metric, system, c))
                    for c, v in row.items()
                ),
            ]
            for system, row in frame.iterrows()
        ]
        notes = [
            latex.escape(line).replace(BETTER, r"$\uparrow$").replace(WORSE, r"$\downarrow$")
            for line in tests.legend(metric)
        ]
        parts.append(
            latex.table(["system", *frame.columns], rows, f"{metric} x 100, {tests.title}", notes)
        )
        header, details = tests.details(metric, tests.first)
        cells = [[latex.escape(text) for text in row] for row in details]
        parts.append(latex.table(header, cells, f"{metric}: differences x 100, {tests.title}"))
    return "\n".join(parts)


def _json(tests: PairedTests) -> dict[str, Any]:
    facts = tests.facts().astype(object)
    return {
        "title": tests.title,
        "unit": "x 100, mean over all judged queries",
        "baseline": tests.baseline,
        "settings": tests.settings,
        "scores": {metric: tests.scores(metric).round(4).T.to_dict() for metric in tests.metrics},
        "comparisons": facts.where(facts.notna(), None).to_dict("records"),
        "read_whole_texts": tests.whole_texts,
        "accepted_differences": tests.notes,
        "provenance": tests.provenance,
    }
