"""What lies in `results/`: score tables of stage 2, comparisons beside them, and which of them are of one benchmark."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from m3eval.errors import UserError
from m3eval.manifests import read_record
from m3eval.reference.published import AVERAGE, in_published_order
from m3eval.retrievers.retriever import shipped

WHOLE = "whole texts"
LENGTHS = re.compile(
    r", (\d+/\d+ tokens|whole texts)[^()]*\)$"
)  # the end of a title: lengths and what becomes of long texts
NEEDED = ("title", "encoder", "judged_queries", "scores", "provenance")


@dataclass(frozen=True)
class Result:
    """One `scores.json`: an encoder on a benchmark, with several retrievers."""

    folder: Path
    content: dict[str, Any]
    apart: str = ""  # what tells it from another of its name

    @property
    def name(self) -> str:
        """What addresses call it."""
        folder = self.folder.parent if self.folder.name == "scores" else self.folder
        of_encoder = folder is not self.folder or folder.name == self.encoder_name
        return (f"{folder.name}-{folder.parent.name}" if of_encoder else folder.name) + self.apart

    @property
    def encoder_name(self) -> str:
        """What the encoder is called where systems are compared, and its folder."""
        return self.config["encoder"]["name"]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that made it."""
        return self.content["provenance"]["config"]

    @property
    def benchmark(self) -> dict[str, Any]:
        """Its part about the benchmark."""
        return self.config["benchmark"]

    @property
    def title(self) -> str:
        """Benchmark and split, without what decides lengths: systems of one benchmark may read differently much."""
        return LENGTHS.sub(")", self.content["title"])

    @property
    def retrievers(self) -> list[str]:
        """In the order of the tables."""
        return list(next(iter(self.content["scores"].values())))

    @property
    def metrics(self) -> list[str]:
        """The benchmark's first metric is the first."""
        return list(self.content["scores"])

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the texts by the name of their set."""
        return {
            name: texts["sha256"] for name, texts in self.content["provenance"]["texts"].items()
        }

    def reads(self, retriever: str) -> str:
        """How much of a text a retriever reads."""
        searched_by = shipped(self.config["retriever"][retriever]["_target_"])
        if searched_by is not None and searched_by.reads_whole_texts:
            return WHOLE
        text, windows = self.benchmark["text"], self.config["encoder"].get("windows")
        lengths = f"{text['max_query_length']}/{text['max_document_length']} tokens"
        lengths += f", windows {windows['size']}/{windows['stride']}" if windows else ""
        half = retriever in self.content.get("read_whole_texts", ())  # builds on one that does
        return f"{lengths} and whole texts" if half else lengths

    def holds(self, other: Result) -> bool:
        """Whether another result is of the same benchmark, texts and encoder and has no score that this one has not."""
        if (self.benchmark["name"], self.encoder_name) != (
            other.benchmark["name"],
            other.encoder_name,
        ):
            return False
        return other.hashes.items() <= self.hashes.items() and _flat(
            other.content["scores"]
        ) <= _flat(self.content["scores"])

    @cached_property
    def distances(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """(metric, retriever, language) -> distance to a published number."""
        found = self.content.get("distances", {})
        return {
            (metric, one["retriever"], one["language"]): one
            for metric, rows in found.items()
            for one in rows
        }

    @cached_property
    def comparison(self) -> Comparison | None:
        """The paired tests beside it or, of several encoders, beside their folders, if there are any."""
        if self.folder.name == "scores":
            places = [folder / "comparison" for folder in self.folder.parents[:2]]
        else:
            places = [self.folder, self.folder.parent]
        return next((found for place in places if (found := read_comparison(place))), None)


@dataclass(frozen=True)
class Comparison:
    """Paired tests of a result's systems, perhaps with those of other encoders."""

    folder: Path
    rows: list[
        dict[str, Any]
    ]  # metric, system, against, language, difference, low, high, p, p_holm, wins, ties, losses
    alpha: float
    test: str  # in words

    @cached_property
    def baseline(self) -> str | None:
        """What all others were held against, if that was one system."""
        against = {row["against"] for row in self.rows}
        return against.pop() if len(against) == 1 else None

    def pairs(self, metric: str, language: str) -> dict[tuple[str, str], dict[str, Any]]:
        """(system, against) -> row."""
        return {
            (r["system"], r["against"]): r
            for r in self.rows
            if (r["metric"], r["language"]) == (metric, language)
        }

    def significant(self, row: Mapping[str, Any]) -> bool:
        """Whether a row's corrected p value calls the difference one."""
        return row["p_holm"] is not None and row["p_holm"] < self.alpha


def read_comparison(folder: Path) -> Comparison | None:
    """A comparison's JSON or, where only its CSV was kept, that with the usual threshold of 0.05."""
    if (folder / "comparison.json").exists():
        content = read_record(folder / "comparison.json")
        settings = content["settings"]
        words = (
            "paired randomisation test" if settings["test"] == "permutation" else "paired t-test"
        )
        return Comparison(
            folder, content["comparisons"], settings["alpha"], f"{words}, two-sided, Holm-corrected"
        )
    if (folder / "comparison.csv").exists():
        with (folder / "comparison.csv").open(encoding="utf-8", newline="") as file:
            rows = [
                {
                    k: v if k in ("metric", "system", "against", "language") else _number(v)
                    for k, v in row.items()
                }
                for row in csv.DictReader(file)
            ]
        return Comparison(folder, rows, 0.05, "paired test, Holm-corrected")
    return None


def _number(text: str) -> float | None:
    value = float(text) if text else math.nan
    return (
        None
        if math.isnan(value)
        else int(value)
        if value.is_integer() and "." not in text
        else value
    )


@dataclass
class Row:
    """A system on one benchmark."""

    result: Result
    retriever: str
    label: str = ""  # told apart from the other rows of its benchmark

    @property
    def encoder(self) -> str:
        """What tables call the encoder, or that there is none: what reads words needs none, though its folder has one."""
        return "no encoder" if self.reads == WHOLE else self.result.content["encoder"]

    @property
    def reads(self) -> str:
        """How much of a text it reads."""
        return self.result.reads(self.retriever)

    def score(self, metric: str, language: str) -> float | None:
        """X 100; None where it was not measured."""
        return self.result.content["scores"].get(metric, {}).get(self.retriever, {}).get(language)

    def average(self, metric: str) -> tuple[float | None, int]:
        """The mean over its languages (x 100), or the score of its only one, and how many they are."""
        scores = self.result.content["scores"].get(metric, {}).get(self.retriever, {})
        n = sum(language != AVERAGE for language in scores)
        return (scores.get(AVERAGE, next(iter(scores.values()))) if scores else None), n


@dataclass
class Board:
    """One benchmark, split and texts: the systems on it may be set side by side."""

    slug: str
    title: str
    results: list[Result] = field(default_factory=list)

    @property
    def reference(self) -> str | None:
        """What published tables call the benchmark."""
        return next(
            (name for result in self.results if (name := result.benchmark.get("reference"))), None
        )

    @cached_property
    def languages(self) -> list[str]:
        """All that any result has, in the paper's order."""
        found = dict.fromkeys(
            language for result in self.results for language in result.content["judged_queries"]
        )
        default = self.results[0].benchmark["source"].get("languages") or [*found]
        return in_published_order(self.reference, [*found], default)

    @cached_property
    def queries(self) -> dict[str, int]:
        """Judged queries of each language."""
        return {
            language: n
            for result in self.results
            for language, n in result.content["judged_queries"].items()
        }

    @cached_property
    def metrics(self) -> list[str]:
        """All that any result has; the first is the benchmark's own."""
        return list(dict.fromkeys(metric for result in self.results for metric in result.metrics))

    @cached_property
    def rows(self) -> list[Row]:
        """All systems, best first by the first metric's average."""
        rows = [
            Row(result, retriever) for result in self.results for retriever in result.retrievers
        ]
        shared = [(row.encoder, row.retriever) for row in rows]
        for row, key in zip(rows, shared, strict=True):
            row.label = (
                row.retriever if shared.count(key) == 1 else f"{row.retriever} ({row.result.name})"
            )
        return sorted(rows, key=lambda row: -(row.average(self.metrics[0])[0] or 0))


def _flat(
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> set[tuple[str, str, str, float]]:
    """Metric, retriever, language and score, but for averages, which depend on what else there is."""
    return {
        (metric, retriever, language, score)
        for metric, retrievers in scores.items()
        for retriever, languages in retrievers.items()
        for language, score in languages.items()
        if language != AVERAGE
    }


def read_results(files: Iterable[Path]) -> list[Result]:
    """The results that files hold.

    Raises:
        UserError: one is not what stage 2 writes.
    """
    return [Result(path.parent, _read(path)) for path in files]


def _read(path: Path) -> dict[str, Any]:
    content = read_record(path)
    if lacking := [name for name in NEEDED if name not in content]:
        raise UserError(
            f"{path} lacks {', '.join(lacking)}: it is no scores.json of step2_eval.py."
        )
    return content


def boards(results: Iterable[Result]) -> list[Board]:
    """Results by benchmark. Results of other texts are never set side by side, though benchmark and split be called alike."""
    found: list[Board] = []
    for result in results:
        board = next((board for board in found if _same(board, result)), None)
        if board is None:
            name, used = result.benchmark["name"], {board.slug for board in found}
            slug = next(slug for slug in _slugs(name) if slug not in used)
            title = result.title if slug == safe(name) else f"{result.title}, other texts ({slug})"
            found.append(board := Board(slug, title))
        board.results.append(result)
    return found


def _same(board: Board, result: Result) -> bool:
    first = board.results[0]
    if (first.benchmark["name"], first.title) != (result.benchmark["name"], result.title):
        return False
    known = {name: sha256 for other in board.results for name, sha256 in other.hashes.items()}
    return all(known.get(name, sha256) == sha256 for name, sha256 in result.hashes.items())


def _slugs(name: str) -> Iterator[str]:
    yield safe(name)
    n = 2
    while True:
        yield f"{safe(name)}-{n}"
        n += 1


def safe(name: str) -> str:
    """A name as files and addresses may have it."""
    return (
        "".join(
            sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "-" for sign in name
        )
        or "-"
    )
