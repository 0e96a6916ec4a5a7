"""Score tables: languages down, retrievers across, one table per metric, numbers x 100 with the distance to published ones."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from m3eval.console import console, say
from m3eval.files import whole_file, write_json
from m3eval.reference.published import AVERAGE
from m3eval.reports.distance import Comparison, Distance


@dataclass(frozen=True)
class Report:
    """Everything a table states."""

    title: str
    encoder: str
    metrics: list[str]
    languages: list[str]
    retrievers: list[str]
    per_query: dict[
        tuple[str, str], dict[str, dict[str, float]]
    ]  # (retriever, language) -> metric -> qid -> score
    provenance: dict[str, Any]
    comparison: Comparison | None = (
        None  # None: nothing published is known to be this benchmark's and these systems'
    )
    uncut: Sequence[
        str
    ] = ()  # retrievers that read whole texts, at least in part, though the title states lengths

    def scores(self, metric: str) -> pd.DataFrame:
        """Means over all judged queries x 100: a row per language and one for their average, a column per retriever."""
        frame = pd.DataFrame(
            {
                name: [
                    100 * np.mean(list(self.per_query[name, language][metric].values()))
                    for language in self.languages
                ]
                for name in self.retrievers
            },
            index=self.languages,
        )
        if len(self.languages) > 1:
            frame.loc[AVERAGE] = frame.mean()
        return frame

    @property
    def judged(self) -> dict[str, int]:
        """How many queries each mean is over."""
        return {
            language: len(self.per_query[self.retrievers[0], language][self.metrics[0]])
            for language in self.languages
        }

    def caption(self, metric: str) -> str:
        """What a table's heading says."""
        return f"{metric} x 100 · {self.title} · {self.encoder}"

    def distances(self, metric: str) -> dict[tuple[str, str], Distance]:
        """(language, retriever) -> distance, for every cell of the metric's table that has a published counterpart."""
        if self.comparison is None:
            return {}
        cells = (
            (key, self.comparison.distance(metric, *key[::-1], value))
            for key, value in self.scores(metric).stack().items()
        )
        return {key: distance for key, distance in cells if distance}

    def cells(self, metric: str) -> pd.DataFrame:
        """As people read it: 69.1 (-0.1) with the distance to a published number, 12.3 [69.2] beside one not comparable."""
        frame = self.scores(metric).map(lambda value: f"{value:.1f}")
        for (language, name), distance in self.distances(metric).items():
            beside = f" [{distance.published.value}]"
            if not distance.obstacles:
                beside = f" ({distance.delta:+.1f})" + (
                    "!" if distance.verdict == "differs" else ""
                )
            frame.loc[language, name] += beside
        return frame

    def legend(self, metric: str) -> list[str]:
        """What the signs in `cells` mean, and which published numbers they are about."""
        found = list(self.distances(metric).values())
        ids = ", ".join(dict.fromkeys(distance.published.table.id for distance in found))
        lines = [f"whole texts are read by {', '.join(self.uncut)}"] if self.uncut else []
        if comparable := [distance for distance in found if not distance.obstacles]:
            lines.append(
                f"( ) distance to {ids}, ! further than {comparable[0].tolerance:g} points"
            )
        if why := dict.fromkeys(obstacle for distance in found for obstacle in distance.obstacles):
            lines.append(f"[ ] {ids}, not comparable: {'; '.join(why)}")
        return lines

    @property
    def coverage(self) -> list[str]:
        """How much of what is published these runs cover: a line, or none where nothing is."""
        found = [
            d
            for metric in self.metrics
            for (language, _), d in self.distances(metric).items()
            if language != AVERAGE
        ]
        return [self.comparison.coverage(found, self.metrics)] if found else []


def show(report: Report) -> None:
    """Prints one table per metric."""
    for metric in report.metrics:
        frame = report.cells(metric)
        table = Table(title=report.caption(metric), title_justify="left", title_style="bold")
        table.add_column("language")
        table.add_column("queries", justify="right")
        for name in frame.columns:
            table.add_column(name, justify="right")
        for language, row in frame.iterrows():
            average = language == AVERAGE
            if average:
                table.add_section()
            queries = "" if average else f"{report.judged[language]:,}"
            table.add_row(str(language), queries, *(escape(value) for value in row))
        console.print(table)
        for line in report.legend(metric):
            say(line)
    for line in report.coverage:
        say(line)


def write(report: Report, folder: Path) -> list[Path]:
    """Writes the tables as Markdown, CSV and JSON, and the score of every query as CSV.

    Returns:
        the paths written: for people, for spreadsheets, for programs (with full provenance), and per query.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[Report, Path], None]] = {
        "scores.md": _markdown,
        "scores.csv": _csv,
        "scores.json": _json,
        "per_query.csv": _per_query,
    }
    for name, write_one in writers.items():
        with whole_file(folder / name) as part:
            write_one(report, part)
    return [folder / name for name in writers]


def _markdown(report: Report, path: Path) -> None:
    lines = []
    for metric in report.metrics:
        frame = report.cells(metric)
        lines += [
            f"### {report.caption(metric)}",
            "",
            "| language | queries | " + " | ".join(frame.columns) + " |",
        ]
        lines.append("|---|---:|" + "---:|" * len(frame.columns))
        for language, row in frame.iterrows():
            lines.append(
                f"| {language} | {report.judged.get(str(language), '')} | {' | '.join(row)} |"
            )
        lines += ["", *(part for line in report.legend(metric) for part in (line, ""))]
    lines += report.coverage
    path.write_text("\n".join(lines), encoding="utf-8")


def _csv(report: Report, path: Path) -> None:
    """A row per metric and language; where a retriever has published counterparts, three more columns for it."""
    tables = []
    for metric in report.metrics:
        frame = report.scores(metric).assign(metric=metric)
        for (language, name), distance in report.distances(metric).items():
            for column, value in _facts(distance).items():
                frame.loc[language, f"{name}.{column}"] = value
        tables.append(frame)
    frame = pd.concat(tables).rename_axis("language").reset_index()
    more = [
        f"{name}.{column}"
        for name in report.retrievers
        for column in ("reference", "delta", "verdict")
    ]
    columns = [
        "metric",
        "language",
        *report.retrievers,
        *(column for column in more if column in frame),
    ]
    frame[columns].to_csv(path, index=False, float_format="%.4f")


def _facts(distance: Distance) -> dict[str, Any]:
    return {
        "reference": distance.published.value,
        "delta": round(distance.delta, 4),
        "verdict": distance.verdict,
    }


def _json(report: Report, path: Path) -> None:
    write_json(
        path,
        {
            "title": report.title,
            "encoder": report.encoder,
            "unit": "x 100, mean over all judged queries",
            "judged_queries": report.judged,
            "scores": {
                metric: report.scores(metric).round(4).to_dict() for metric in report.metrics
            },
            "distances": {
                metric: [
                    {"language": language, "retriever": name, "table": distance.published.table.id}
                    | _facts(distance)
                    for (language, name), distance in report.distances(metric).items()
                ]
                for metric in report.metrics
            },
            "coverage": " ".join(report.coverage) or None,
            "read_whole_texts": list(report.uncut),
            "provenance": report.provenance,
        },
    )


def _per_query(report: Report, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["retriever", "language", "qid", *report.metrics])
        for (name, language), scores in report.per_query.items():
            for qid in scores[report.metrics[0]]:
                writer.writerow(
                    [
                        name,
                        language,
                        qid,
                        *(f"{scores[metric][qid]:.6g}" for metric in report.metrics),
                    ]
                )
