"""Boards: the systems on one benchmark that may be set side by side."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from m3eval.comparable import Comparable, differences
from m3eval.reading import Reading
from m3eval.reference.published import AVERAGE, in_published_order
from m3eval.reports.site.results import SiteResult


@dataclass
class SystemRow:
    """A system, an encoder with a retriever, on one benchmark."""

    result: SiteResult
    retriever: str
    apart: str = ""  # the result's name, where another row of its benchmark has this row's names

    @property
    def encoder(self) -> str:
        """The encoder's name. Empty: a retriever over words has none, though its folder does."""
        has_none = self.reading.whole_texts in ("yes", "unknown")
        return "" if has_none else self.result.encoder_name

    @property
    def elsewhere(self) -> bool:
        """Whether its runs were made elsewhere, or build on such runs."""
        return self.reading.whole_texts == "unknown"

    @property
    def about(self) -> str:
        """What tables call the encoder, which may be a sentence."""
        without = "made elsewhere" if self.elsewhere else "no encoder"
        return self.result.content.encoder if self.encoder else without

    @property
    def label(self) -> str:
        """As `m3eval compare` names a system; no other row of its benchmark has the same."""
        name = f"{self.encoder}/{self.retriever}" if self.encoder else self.retriever
        return f"{name} ({self.apart})" if self.apart else name

    @property
    def badges(self) -> list[str]:
        """Short facts that tell it from others."""
        reads = "made elsewhere" if self.elsewhere else str(self.reading)
        return [reads, *filter(None, (self.approximate, self.apart))]

    @property
    def approximate(self) -> str:
        """What its recall is, in words, if it is approximate."""
        return self.result.content.approximate.get(self.retriever, "")

    @property
    def reading(self) -> Reading:
        """How much of a text the system reads."""
        return self.result.reading(self.retriever)

    def score(self, metric: str, language: str) -> float | None:
        """Its score x 100; None where it was not measured, or there is none."""
        return self.result.content.scores.get(metric, {}).get(self.retriever, {}).get(language)

    def languages(self, metric: str) -> list[str]:
        """The languages that it was scored in."""
        scores = self.result.content.scores.get(metric, {}).get(self.retriever, {})
        return [language for language in scores if language != AVERAGE]

    def average(self, metric: str) -> tuple[float | None, int]:
        """The mean over its languages x 100, or the score of its only one; and their number."""
        scores = self.result.content.scores.get(metric, {}).get(self.retriever, {})
        n = len(self.languages(metric))
        return (scores.get(AVERAGE) if n > 1 else next(iter(scores.values()), None)), n


@dataclass
class Board:
    """All results on one benchmark, split and texts: their systems may be set side by side."""

    slug: str
    title: str
    results: list[SiteResult] = field(default_factory=list)

    @property
    def reference(self) -> str | None:
        """What published tables call the benchmark."""
        return next(
            (name for result in self.results if (name := result.benchmark.get("reference"))), None
        )

    @cached_property
    def languages(self) -> list[str]:
        """The languages that any result has, in the paper's order."""
        judged = dict.fromkeys(
            language for result in self.results for language in result.content.judged_queries
        )
        default = self.results[0].benchmark["source"].get("languages") or [*judged]
        return in_published_order(self.reference, [*judged], default)

    @cached_property
    def queries(self) -> dict[str, int]:
        """The number of judged queries by language."""
        return {
            language: n
            for result in self.results
            for language, n in result.content.judged_queries.items()
        }

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics that any result has; the benchmark's own is the first."""
        return list(dict.fromkeys(metric for result in self.results for metric in result.metrics))

    @cached_property
    def language_sets(self) -> dict[str, list[frozenset[str]]]:
        """By metric: the sets of languages that averages are over, that of most systems first."""
        sets: dict[str, list[frozenset[str]]] = {}
        for metric in self.metrics:
            counts = Counter(
                frozenset(row.languages(metric)) for row in self._systems if row.languages(metric)
            )
            sets[metric] = sorted(counts, key=lambda each: (-counts[each], -len(each)))
        return sets

    def group(self, row: SystemRow, metric: str) -> int:
        """Which averages a row's belongs to: 0 for those over the languages that most have."""
        languages = frozenset(row.languages(metric))
        return self.language_sets[metric].index(languages) if languages else 0

    def place(self, row: SystemRow, metric: str) -> tuple[int, float]:
        """What rows are sorted by: the languages of their average, then the average, best first."""
        return self.group(row, metric), -(row.average(metric)[0] or 0)

    @cached_property
    def rows(self) -> list[SystemRow]:
        """All systems, the best by the first metric's average first."""
        return sorted(self._systems, key=lambda row: self.place(row, self.metrics[0]))

    @cached_property
    def _systems(self) -> list[SystemRow]:
        rows = [
            SystemRow(result, retriever)
            for result in self.results
            for retriever in result.retrievers
        ]
        names = Counter(row.label for row in rows)
        for row in rows:
            if names[row.label] > 1:
                row.apart = row.result.name
        return rows


def boards(results: Iterable[SiteResult]) -> list[Board]:
    """Results by benchmark.

    Results of other texts never share a board, though benchmark and split have the same names.
    """
    by_benchmark: list[Board] = []
    for result in results:
        board = next((board for board in by_benchmark if _same(board, result)), None)
        if board is None:
            name = result.benchmark["name"]
            slug = unused(name, {board.slug for board in by_benchmark})
            title = result.title if slug == safe(name) else f"{result.title}, other texts ({slug})"
            board = Board(slug, title)
            by_benchmark.append(board)
        board.results.append(result)
    return by_benchmark


def _same(board: Board, result: SiteResult) -> Comparable:
    """Whether a result is of a board's benchmark and texts."""
    first = board.results[0]
    verdict = Comparable.by(
        differences(first.benchmark["name"], result.benchmark["name"], where="benchmark")
        + differences(first.title, result.title, where="title")
    )
    for other in board.results:
        for name in {*other.hashes} & {*result.hashes}:
            hashes = other.hashes[name], result.hashes[name]
            verdict += Comparable.by(differences(*hashes, where=f"texts.{name}"))
    return verdict


def unused(name: str, used: Collection[str]) -> str:
    """A name for files that is not used yet: `safe`, else the same with 2, 3 ... behind it."""
    names = itertools.chain([safe(name)], (f"{safe(name)}-{n}" for n in itertools.count(2)))
    # There are file systems to which A and a are one.
    folded = {other.casefold() for other in used}
    return next(each for each in names if each.casefold() not in folded)


def safe(name: str) -> str:
    """A name in letters, digits, - and _, as files and addresses may have it."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name) or "-"
