"""Score tables: languages down, retrievers across, one table per metric, numbers x 100.

Beside a score stands the distance to a published number, where there is one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from m3eval.console import console, say
from m3eval.files import whole_file
from m3eval.layout import ScoreFiles
from m3eval.lazy import pandas as pd
from m3eval.manifests import Provenance, PublishedDistance, Result
from m3eval.metrics.means import over_all, points
from m3eval.metrics.ranking import Scores
from m3eval.reading import Heading, Reading
from m3eval.records import write as write_record
from m3eval.reference.published import AVERAGE
from m3eval.reports.distance import Distance, PublishedSystems
from m3eval.reports.results import NONE
from m3eval.seals import Seal

if TYPE_CHECKING:
    from pandas import DataFrame

UNIT = "x 100, mean over all judged queries"


@dataclass(frozen=True)
class ScoreTable:
    """Everything that the tables of one encoder on one benchmark state."""

    heading: Heading
    reading: Reading  # what the encoder reads
    encoder: str
    metrics: list[str]
    languages: list[str]
    retrievers: list[str]
    # By retriever and language: metric -> qid -> score in [0, 1].
    per_query: Mapping[tuple[str, str], Scores]
    provenance: Provenance
    # None: nothing published is known to be this benchmark's and these systems'.
    published: PublishedSystems | None = None
    # Retrievers that read whole texts, at least in part, though the title states lengths.
    whole_texts: tuple[str, ...] = ()
    # What a reader must know of how the scores came about, a sentence each.
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The benchmark, its split, and how much of a text is read."""
        return self.heading.said(self.reading)

    def scores(self, metric: str) -> DataFrame:
        """Means over all judged queries x 100; nan: see `means`.

        A row per language and one for their average, a column per retriever.
        """
        columns = {
            name: [points(self._of_cell(name, language, metric)) for language in self.languages]
            for name in self.retrievers
        }
        rows = self.languages
        if len(self.languages) > 1:
            columns = {name: [*column, over_all(column)] for name, column in columns.items()}
            rows = [*rows, AVERAGE]
        return pd.DataFrame(columns, index=rows, dtype=float)

    def _of_cell(self, name: str, language: str, metric: str) -> Mapping[str, float]:
        """Scores by qid; empty where that run was not scored."""
        return self.per_query.get((name, language), {}).get(metric, {})

    @property
    def judged(self) -> dict[str, int]:
        """How many queries each mean is over."""
        first: dict[str, int] = {}
        for (_, language), by_metric in self.per_query.items():
            first.setdefault(language, len(by_metric[self.metrics[0]]))
        return {language: first[language] for language in self.languages}

    def caption(self, metric: str) -> str:
        """What a table's heading says."""
        return f"{metric} x 100 · {self.title} · {self.encoder}"

    def distances(self, metric: str) -> dict[tuple[str, str], Distance]:
        """(language, retriever) -> distance, for every cell that has a published counterpart."""
        if self.published is None:
            return {}
        scores = self.scores(metric).to_dict()  # retriever -> language -> score
        distances = {}
        for language in next(iter(scores.values())):
            for name in self.retrievers:
                score = scores[name][language]
                if not math.isnan(score):
                    cell = metric, name, language, score
                    distances[language, name] = self.published.distance(*cell)
        return {key: distance for key, distance in distances.items() if distance}

    def without_score(self, metric: str, asked_for: bool) -> list[str]:
        """The retrievers and languages that have no score, though or because nobody asked for."""
        return [
            f"{name} {language}"
            for name in self.retrievers
            for language in self.languages
            if not self._of_cell(name, language, metric)
            and ((name, language) in self.per_query) is asked_for
        ]

    def cells(self, metric: str) -> DataFrame:
        """As people read it: 69.1 (-0.1) with the distance to a comparable published number.

        12.3 [69.2] stands beside a published number that is not comparable.
        """
        frame = self.scores(metric).map(lambda value: NONE if math.isnan(value) else f"{value:.1f}")
        for (language, name), distance in self.distances(metric).items():
            beside = f" [{distance.published.value}]"
            if distance.comparable:
                mark = "!" if distance.verdict == "differs" else ""
                beside = f" ({distance.delta:+.1f}){mark}"
            frame.loc[language, name] += beside
        return frame

    def legend(self, metric: str) -> list[str]:
        """What the signs in `cells` mean, and which published numbers they are about."""
        distances = list(self.distances(metric).values())
        tables = ", ".join(dict.fromkeys(each.published.table.id for each in distances))
        lines = []
        if without := self.without_score(metric, asked_for=False):
            lines.append(f"{NONE} not evaluated, and so no average: {', '.join(without)}")
        if without := self.without_score(metric, asked_for=True):
            lines.append(
                f"{NONE} no score, and so no average: no question counts, for the run found no "
                f"document ({', '.join(without)})"
            )
        if self.whole_texts:
            lines.append(f"whole texts are read by {', '.join(self.whole_texts)}")
        if comparable := [each for each in distances if each.comparable]:
            points = comparable[0].tolerance
            lines.append(f"( ) distance to {tables}, ! further than {points:g} points")
        obstacles = [str(why) for each in distances for why in each.comparable.obstacles]
        if obstacles:
            reasons = "; ".join(dict.fromkeys(obstacles))
            lines.append(f"[ ] {tables}, not comparable: {reasons}")
        if self.published is not None:
            lines += self.published.lacking(metric)
        return [*lines, *self.notes]

    @property
    def coverage(self) -> list[str]:
        """How much of what is published these runs cover: a line, or none where nothing is."""
        distances = [
            distance
            for metric in self.metrics
            for (language, _), distance in self.distances(metric).items()
            if language != AVERAGE
        ]
        if self.published is None or not distances:
            return []
        return [self.published.coverage(distances, self.metrics)]

    def result(self) -> Result:
        """The record that goes into scores.json."""
        return Result(
            title=self.title,
            encoder=self.encoder,
            unit=UNIT,
            judged_queries=self.judged,
            scores={
                metric: {
                    str(name): {
                        str(language): None if math.isnan(value) else value
                        for language, value in column.items()
                    }
                    for name, column in self.scores(metric).round(4).items()
                }
                for metric in self.metrics
            },
            distances={
                metric: [
                    _published(language, name, distance)
                    for (language, name), distance in self.distances(metric).items()
                ]
                for metric in self.metrics
            },
            coverage=" ".join(self.coverage) or None,
            read_whole_texts=list(self.whole_texts),
            notes=list(self.notes),
            provenance=self.provenance,
        )


def show(table: ScoreTable) -> None:
    """Prints one table per metric."""
    for metric in table.metrics:
        frame = table.cells(metric)
        shown = Table(title=table.caption(metric), title_justify="left", title_style="bold")
        shown.add_column("language")
        shown.add_column("queries", justify="right")
        for name in frame.columns:
            shown.add_column(name, justify="right")
        for language, row in frame.iterrows():
            average = language == AVERAGE
            if average:
                shown.add_section()
            queries = "" if average else f"{table.judged[str(language)]:,}"
            shown.add_row(str(language), queries, *(escape(value) for value in row))
        console.print(shown)
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
            published = _published(language, name, distance)
            for column in beside:
                frame.loc[language, f"{name}.{column}"] = getattr(published, column)
        tables.append(frame)
    frame = pd.concat(tables).rename_axis("language").reset_index()
    more = [f"{name}.{column}" for name in table.retrievers for column in beside]
    columns = ["metric", "language", *table.retrievers, *(name for name in more if name in frame)]
    frame[columns].to_csv(path, index=False, float_format="%.4f")


def _published(language: str, retriever: str, distance: Distance) -> PublishedDistance:
    number = distance.published
    return PublishedDistance(
        language,
        retriever,
        number.table.id,
        number.value,
        round(distance.delta, 4),
        distance.verdict,
    )


def _per_query(table: ScoreTable, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["retriever", "language", "qid", *table.metrics])
        for (name, language), scores in table.per_query.items():
            for qid in scores[table.metrics[0]]:
                values = (f"{scores[metric][qid]:.6g}" for metric in table.metrics)
                writer.writerow([name, language, qid, *values])
