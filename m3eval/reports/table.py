"""Score tables: languages down, retrievers across, one table per metric, numbers x 100.

Beside a score stands the distance to a published number, where there is one. How they are shown and
written is in `table_files.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from m3eval.lazy import pandas as pd
from m3eval.manifests import Provenance, PublishedDistance, Result
from m3eval.metrics.means import over_all, points
from m3eval.metrics.ranking import Scores
from m3eval.reading import Heading, Reading, approximate_lines
from m3eval.reference.published import AVERAGE
from m3eval.reports.distance import Distance, PublishedSystems
from m3eval.reports.results import NONE, shown

if TYPE_CHECKING:
    from pandas import DataFrame

CHANCE = "chance"  # the row of a random order
LEAST_CHANCE = 0.05  # x 100: less is printed as 0.0
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
    # By retriever that is approximate: what its recall is, in words.
    approximate: Mapping[str, str] = field(default_factory=dict)
    # By language: groups of queries that have rows of their own, and their qids.
    groups: Mapping[str, Mapping[str, Collection[str]]] = field(default_factory=dict)
    chance: Mapping[str, Scores] = field(default_factory=dict)  # by language; empty: not told

    @property
    def title(self) -> str:
        """The benchmark, its split, and how much of a text is read."""
        return self.heading.said(self.reading)

    def scores(self, metric: str) -> DataFrame:
        """Means over all judged queries x 100; nan: see `means`.

        A row per language and one for their average, a column per retriever.
        """
        return self._means(lambda name, language: self._of_cell(name, language, metric))

    def _means(self, scores_of: Callable[[str, str], Mapping[str, float]]) -> DataFrame:
        """Means x 100 of cells, by retriever and language, as rows and columns of `scores`."""
        columns = {
            name: [points(scores_of(name, language)) for language in self.languages]
            for name in self.retrievers
        }
        rows = self.languages
        if len(self.languages) > 1:
            columns = {name: [*column, over_all(column)] for name, column in columns.items()}
            rows = [*rows, AVERAGE]
        return pd.DataFrame(columns, index=rows, dtype=float)

    def of_groups(self, metric: str) -> dict[str, DataFrame]:
        """The same as `scores` over each group of queries alone."""
        names = dict.fromkeys(name for groups in self.groups.values() for name in groups)

        def within(group: str, name: str, language: str) -> Mapping[str, float]:
            qids = {*self.groups.get(language, {}).get(group, ())}
            cell = self._of_cell(name, language, metric)
            return {qid: score for qid, score in cell.items() if qid in qids}

        return {group: self._means(functools.partial(within, group)) for group in names}

    def by_chance(self, metric: str) -> DataFrame | None:
        """The same for a random order of the documents; None where it is not told, or is 0.0."""
        if not self.chance:
            return None
        means = self._means(lambda _, language: self.chance[language][metric])
        return means if means.iloc[-1].max() >= LEAST_CHANCE else None

    def below(self, metric: str) -> dict[str, list[str]]:
        """Rows that stand below the languages': the last row of each group, and chance."""
        rows = dict(self.of_groups(metric))
        if (chance := self.by_chance(metric)) is not None:
            rows[CHANCE] = chance
        return {name: [shown(value) for value in frame.iloc[-1]] for name, frame in rows.items()}

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
        frame = self.scores(metric).map(shown)
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
        of = f"{AVERAGE}s" if len(self.languages) > 1 else "means"
        if groups := self.of_groups(metric):
            lines.append(f"{', '.join(groups)}: {of} over these queries alone")
        if self.by_chance(metric) is not None:
            lines.append(f"{CHANCE}: what a random order of the documents is expected to score")
        return [*lines, *approximate_lines(self.approximate), *self.notes]

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
            scores={metric: _cells(self.scores(metric)) for metric in self.metrics},
            distances={
                metric: [
                    as_published(language, name, distance)
                    for (language, name), distance in self.distances(metric).items()
                ]
                for metric in self.metrics
            },
            coverage=" ".join(self.coverage) or None,
            groups={metric: groups for metric in self.metrics if (groups := self._grouped(metric))},
            chance={
                metric: _cells(chance)[self.retrievers[0]]
                for metric in self.metrics
                if (chance := self.by_chance(metric)) is not None
            },
            read_whole_texts=list(self.whole_texts),
            notes=list(self.notes),
            approximate=dict(self.approximate),
            provenance=self.provenance,
        )

    def _grouped(self, metric: str) -> dict[str, dict[str, dict[str, float | None]]]:
        return {name: _cells(frame) for name, frame in self.of_groups(metric).items()}


def _cells(frame: DataFrame) -> dict[str, dict[str, float | None]]:
    """Retriever -> language -> score, to four decimals; None where there is none."""
    return {
        str(name): {
            str(language): None if math.isnan(value) else value
            for language, value in column.items()
        }
        for name, column in frame.round(4).items()
    }


def as_published(language: str, retriever: str, distance: Distance) -> PublishedDistance:
    """A distance as scores.json and scores.csv have it."""
    number = distance.published
    return PublishedDistance(
        language,
        retriever,
        number.table.id,
        number.value,
        round(distance.delta, 4),
        distance.verdict,
    )
