"""Score tables on the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from m3eval.console import console, say
from m3eval.files import whole_file
from m3eval.layout import ScoreFiles
from m3eval.lazy import pandas as pd
from m3eval.records import write as write_record
from m3eval.reference.published import AVERAGE
from m3eval.reports.table import ScoreTable, as_published
from m3eval.seals import Seal


def show(table: ScoreTable) -> None:
    """Prints one table per metric."""
    for metric in table.metrics:
        frame = table.cells(metric)
        lines = Table(title=table.caption(metric), title_justify="left", title_style="bold")
        lines.add_column("language")
        lines.add_column("queries", justify="right")
        for name in frame.columns:
            lines.add_column(name, justify="right")
        for language, row in frame.iterrows():
            average = language == AVERAGE
            if average:
                lines.add_section()
            queries = "" if average else f"{table.judged[str(language)]:,}"
            lines.add_row(str(language), queries, *(escape(value) for value in row))
        below = table.below(metric)
        if below:
            lines.add_section()
        for name, row in below.items():
            lines.add_row(name, "", *row)
        console.print(lines)
        for line in table.legend(metric):
            say(line)
    for line in table.coverage:
        say(line)


def write(table: ScoreTable, files: ScoreFiles) -> list[Path]:
    """Writes the tables as Markdown, CSV and JSON, and the score of every query as CSV.

    Returns:
        the paths written: for people, for spreadsheets, for programs, and per query.
    """
    writers: dict[Path, Callable[[ScoreTable, Path], None]] = {
        files.markdown: _markdown,
        files.csv: _csv,
        files.per_query: _per_query,
    }
    for path, write_to in writers.items():
        with whole_file(path) as part:
            write_to(table, part)
    tables = {path.name: Seal.of(path) for path in writers}
    write_record(files.json, replace(table.result(), files=tables))
    return [files.markdown, files.csv, files.json, files.per_query]


def markdown(table: ScoreTable) -> str:
    """The tables as Markdown."""
    lines = []
    for metric in table.metrics:
        frame = table.cells(metric)
        names = " | ".join(frame.columns)
        lines += [f"### {table.caption(metric)}", "", f"| language | queries | {names} |"]
        lines.append("|---|---:|" + "---:|" * len(frame.columns))
        for language, row in frame.iterrows():
            queries = table.judged.get(str(language), "")
            lines.append(f"| {language} | {queries} | {' | '.join(row)} |")
        for name, row in table.below(metric).items():
            lines.append(f"| {name} | | {' | '.join(row)} |")
        lines += ["", *(part for line in table.legend(metric) for part in (line, ""))]
    return "\n".join([*lines, *table.coverage])


def _markdown(table: ScoreTable, path: Path) -> None:
    path.write_text(markdown(table), encoding="utf-8")


def _csv(table: ScoreTable, path: Path) -> None:
    """A row per metric and language.

    A retriever with published counterparts has three more columns.
    """
    beside = ("reference", "delta", "verdict")
    tables = []
    for metric in table.metrics:
        frame = table.scores(metric).assign(metric=metric)
        for (language, name), distance in table.distances(metric).items():
            published = as_published(language, name, distance)
            for column in beside:
                frame.loc[language, f"{name}.{column}"] = getattr(published, column)
        tables.append(frame)
    frame = pd.concat(tables).rename_axis("language").reset_index()
    more = [f"{name}.{column}" for name in table.retrievers for column in beside]
    columns = ["metric", "language", *table.retrievers, *(name for name in more if name in frame)]
    frame[columns].to_csv(path, index=False, float_format="%.4f")


def _per_query(table: ScoreTable, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["retriever", "language", "qid", *table.metrics])
        for (name, language), scores in table.per_query.items():
            for qid in scores[table.metrics[0]]:
                values = (f"{scores[metric][qid]:.6g}" for metric in table.metrics)
                writer.writerow([name, language, qid, *values])
