"""Score tables: languages down, retrievers across, one table per metric, numbers x 100."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from m3eval.console import console
from m3eval.files import whole_file, write_json

AVERAGE = "average"


@dataclass(frozen=True)
class Report:
    """Everything a table states."""

    title: str
    encoder: str
    metrics: list[str]
    languages: list[str]
    retrievers: list[str]
    per_query: dict[tuple[str, str], dict[str, dict[str, float]]]  # (retriever, language) -> metric -> qid -> score
    provenance: dict[str, Any]

    def scores(self, metric: str) -> pd.DataFrame:
        """Means over all judged queries x 100: a row per language and one for their average, a column per retriever."""
        frame = pd.DataFrame(
            {
                name: [100 * np.mean(list(self.per_query[name, language][metric].values())) for language in self.languages]
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
        return {language: len(self.per_query[self.retrievers[0], language][self.metrics[0]]) for language in self.languages}

    def caption(self, metric: str) -> str:
        """What a table's heading says."""
        return f"{metric} x 100 · {self.title} · {self.encoder}"


def show(report: Report) -> None:
    """Prints one table per metric."""
    for metric in report.metrics:
        frame = report.scores(metric)
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
            table.add_row(str(language), queries, *(f"{value:.1f}" for value in row))
        console.print(table)


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
        frame = report.scores(metric)
        lines += [f"### {report.caption(metric)}", "", "| language | queries | " + " | ".join(frame.columns) + " |"]
        lines.append("|---|---:|" + "---:|" * len(frame.columns))
        for language, row in frame.iterrows():
            values = " | ".join(f"{value:.1f}" for value in row)
            lines.append(f"| {language} | {report.judged.get(str(language), '')} | {values} |")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def _csv(report: Report, path: Path) -> None:
    tables = [report.scores(metric).assign(metric=metric) for metric in report.metrics]
    frame = pd.concat(tables).rename_axis("language").reset_index()
    frame[["metric", "language", *report.retrievers]].to_csv(path, index=False, float_format="%.4f")


def _json(report: Report, path: Path) -> None:
    write_json(
        path,
        {
            "title": report.title,
            "encoder": report.encoder,
            "unit": "x 100, mean over all judged queries",
            "judged_queries": report.judged,
            "scores": {metric: report.scores(metric).round(4).to_dict() for metric in report.metrics},
            "provenance": report.provenance,
        },
    )


def _per_query(report: Report, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["retriever", "language", "qid", *report.metrics])
        for (name, language), scores in report.per_query.items():
            for qid in scores[report.metrics[0]]:
                writer.writerow([name, language, qid, *(f"{scores[metric][qid]:.6g}" for metric in report.metrics)])
