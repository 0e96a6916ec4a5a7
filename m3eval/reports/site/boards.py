"""Boards: the systems on one benchmark that may be set side by side."""

from __future__ import annotations

import itertools
import re
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
    label: str = ""  # tells it apart from the other rows of its benchmark

    @property
    def encoder(self) -> str:
        """What tables call the encoder. A retriever over words has none, though its folder does."""
        whole = self.reading.whole_texts == "yes"
        return "no encoder" if whole else self.result.content.encoder

    @property
    def reading(self) -> Reading:
        """How much of a text the system reads."""
        return self.result.reading(self.retriever)

    def score(self, metric: str, language: str) -> float | None:
        """Its score x 100; None where it was not measured, or there is none."""
        return self.result.content.scores.get(metric, {}).get(self.retriever, {}).get(language)

    def average(self, metric: str) -> tuple[float | None, int]:
        """The mean over its languages x 100, or the score of its only one; and their number."""
        scores = self.result.content.scores.get(metric, {}).get(self.retriever, {})
        n = sum(language != AVERAGE for language in scores)
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
    def rows(self) -> list[SystemRow]:
        """All systems, the best by the first metric's average first."""
        rows = [
            SystemRow(result, retriever)
            for result in self.results
            for retriever in result.retrievers
        ]
        shared = [(row.encoder, row.retriever) for row in rows]
        for row, key in zip(rows, shared, strict=True):
            row.label = (
                row.retriever if shared.count(key) == 1 else f"{row.retriever} ({row.result.name})"
            )
        return sorted(rows, key=lambda row: -(row.average(self.metrics[0])[0] or 0))


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
            verdict += Comparable.by(differences(*hashes, where=f"texts.{name}.sha256"))
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
