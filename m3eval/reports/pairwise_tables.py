"""Tables of a comparison on the terminal, as Markdown, LaTeX, CSV and JSON.

Systems stand down, languages across; every test stands in full below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from m3eval import records
from m3eval.console import console, say
from m3eval.files import whole_file
from m3eval.layout import ComparisonFiles
from m3eval.lazy import pandas
from m3eval.reports import latex
from m3eval.reports.pairwise import BETTER, WORSE, PairedTests
from m3eval.reports.table import UNIT
from m3eval.seals import Seal

FRAME = 3  # characters around a cell: a space on either side and a line


def show(tests: PairedTests) -> None:
    """Prints, per metric, scores with marks and the comparisons over all.

    There are as many tables as the terminal needs to show each column in full.
    """
    for metric in tests.metrics:
        scores = tests.scores(metric)
        cells = {
            column: [
                f"{scores[system][column]:.1f} {tests.mark(metric, system, column):1}"
                for system in tests.systems
            ]
            for column in tests.columns
        }
        names = [tests.name(system) for system in tests.systems]
        room = console.width - max(map(len, (*names, "system"))) - FRAME - 1
        for columns in _fitting(cells, room):
            title = f"{metric} x 100 · {tests.title}"
            table = Table(title=title, title_justify="left", title_style="bold")
            table.add_column("system", no_wrap=True)
            for column in columns:
                table.add_column(column, justify="right", no_wrap=True)
            for i, name in enumerate(names):
                table.add_row(name, *(cells[column][i] for column in columns))
            console.print(table)
        for line in tests.legend(metric):
            say(line)
        say(f"{metric}: differences x 100")
        # The column that says most: the average, or the only language.
        for line in _aligned(*tests.details(metric, tests.columns[:1])):
            say(line)
    say(
        "d: Cohen's d of paired differences; w/t/l: queries won, tied, lost; every language's "
        "figures are in the files"
    )


def write(tests: PairedTests, files: ComparisonFiles) -> list[Path]:
    """Writes the tables as Markdown, LaTeX, CSV and, with their seals, JSON; returns the paths."""
    writers: dict[str, Callable[[PairedTests], str]] = {
        "md": markdown,
        "tex": _latex,
        "csv": _csv,
    }
    for suffix, text in writers.items():
        with whole_file(files.named(suffix)) as part:
            part.write_text(text(tests), encoding="utf-8")
    beside = [files.named(suffix) for suffix in writers]
    seals = {path.name: Seal.of(path) for path in beside}
    records.write(files.named("json"), _json(tests) | {"files": seals})
    return files.all


def _fitting(cells: Mapping[str, Sequence[str]], room: int) -> Iterator[list[str]]:
    """Columns in groups that fit `room` characters, at least one in each."""
    columns: list[str] = []
    left = room
    for column, texts in cells.items():
        width = max(map(len, (column, *texts))) + FRAME
        if columns and width > left:
            yield columns
            columns, left = [], room
        columns.append(column)
        left -= width
    yield columns


def _aligned(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Lines whose first two columns stand to the left and all others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [
            f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells)


def markdown(tests: PairedTests) -> str:
    """The tables as Markdown."""
    lines = []
    for metric in tests.metrics:
        best = tests.best(metric)
        columns = " | ".join(tests.columns)
        lines += [f"### {metric} x 100 · {tests.title}", "", f"| system | {columns} |"]
        lines.append("|---|" + "---:|" * len(tests.columns))
        for system, scores in tests.scores(metric).items():
            cells = []
            for column, score in scores.items():
                text = f"{score:.1f}"
                mark = tests.mark(metric, system, column)
                cell = f"**{text}**" if round(score, 1) == best[column] else text
                cells.append(cell + (f"<sup>{mark}</sup>" if mark else ""))
            lines.append(f"| {tests.name(system)} | {' | '.join(cells)} |")
        lines += ["", *(part for line in tests.legend(metric) for part in (line, ""))]
        header, rows = tests.details(metric, tests.columns)
        lines += ["| " + " | ".join(header) + " |", "|---|---|" + "---:|" * (len(header) - 2)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    return "\n".join(lines)


def _latex(tests: PairedTests) -> str:
    signs = {BETTER: r"\uparrow", WORSE: r"\downarrow"}

    def cell(score: float, best: float, mark: str) -> str:
        text = f"{score:.1f}"
        text = rf"\textbf{{{text}}}" if round(score, 1) == best else text
        sign = signs.get(mark, rf"\mathrm{{{mark}}}")
        return text + (f"$^{{{sign}}}$" if mark else "")

    parts = [latex.PREAMBLE + "\n"]
    for metric in tests.metrics:
        best = tests.best(metric)
        rows = [
            [
                latex.escape(tests.name(system)),
                *(
                    cell(score, best[column], tests.mark(metric, system, column))
                    for column, score in scores.items()
                ),
            ]
            for system, scores in tests.scores(metric).items()
        ]
        notes = [
            latex.escape(line).replace(BETTER, r"$\uparrow$").replace(WORSE, r"$\downarrow$")
            for line in tests.legend(metric)
        ]
        caption = f"{metric} x 100, {tests.title}"
        parts.append(latex.table(["system", *tests.columns], rows, caption, notes))
        header, details = tests.details(metric, tests.columns[:1])
        rows = [[latex.escape(text) for text in row] for row in details]
        parts.append(latex.table(header, rows, f"{metric}: differences x 100, {tests.title}"))
    return "\n".join(parts)


def _csv(tests: PairedTests) -> str:
    return pandas.DataFrame(tests.facts()).to_csv(index=False, float_format="%.6g")


def _json(tests: PairedTests) -> dict[str, Any]:
    return {
        "title": tests.title,
        "unit": UNIT,
        "baseline": tests.baseline,
        "settings": tests.settings,
        "scores": {
            metric: {
                system: {column: round(score, 4) for column, score in scores.items()}
                for system, scores in tests.scores(metric).items()
            }
            for metric in tests.metrics
        },
        # JSON has no nan: what a test could not tell is null.
        "comparisons": [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in row.items()
            }
            for row in tests.facts()
        ],
        "read_whole_texts": tests.whole_texts,
        "accepted_differences": tests.notes,
        "made_elsewhere": tests.elsewhere,
        "in_int8": tests.in_int8,
        "approximate": dict(tests.approximate),
        "provenance": tests.provenance,
    }
