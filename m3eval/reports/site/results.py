"""What lies in `results/`: the scores of stage 2, and what their systems read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from m3eval.comparable import differences
from m3eval.errors import UserError, together
from m3eval.layout import Layout, ScoreFiles
from m3eval.manifests import PublishedDistance, Result
from m3eval.reading import Heading, Reading
from m3eval.reference.published import AVERAGE
from m3eval.reports.results import read_result
from m3eval.reports.site.comparisons import PairedComparison, read_comparison
from m3eval.retrievers.retriever import inputs, shipped

AGAIN = "Run `m3eval evaluate` again, or leave it out."


@dataclass(frozen=True)
class SiteResult:
    """One `scores.json`: an encoder on a benchmark, with several retrievers."""

    folder: Path
    content: Result
    apart: str = ""  # behind its name: tells it from another result of that name

    @property
    def runs(self) -> Path | None:
        """outputs/{benchmark}/{encoder}, where its runs lie beside it; None: they do not."""
        layout = Layout(self.folder.parent)
        return layout.folder if self.folder.name == "scores" and layout.runs.is_dir() else None

    @property
    def name(self) -> str:
        """The name of its folder; with the benchmark's behind it where an encoder's is below."""
        folder = self.folder.parent if self.folder.name == "scores" else self.folder
        of_encoder = folder is not self.folder or folder.name == self.encoder_name
        return (f"{folder.name}-{folder.parent.name}" if of_encoder else folder.name) + self.apart

    @property
    def encoder_name(self) -> str:
        """The encoder's name, which its folder has too and systems in a comparison begin with."""
        return self.config["encoder"]["name"]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that made it."""
        return self.content.provenance.config

    @property
    def benchmark(self) -> dict[str, Any]:
        """The benchmark's part of the configuration."""
        return self.config["benchmark"]

    @property
    def title(self) -> str:
        """Benchmark and split, without lengths, which systems of one benchmark need not share."""
        return Heading.configured(self.config).said()

    @property
    def retrievers(self) -> list[str]:
        """Retrievers in the order of the tables."""
        return list(dict.fromkeys(name for by in self.content.scores.values() for name in by))

    @property
    def metrics(self) -> list[str]:
        """Metrics in the order of the tables; the benchmark's own is the first."""
        return list(self.content.scores)

    @property
    def hashes(self) -> dict[str, dict[str, str]]:
        """Hashes of the texts, by text set: see `TextIdentity.hashes`."""
        return {name: texts.hashes for name, texts in self.content.provenance.texts.items()}

    def reading(self, retriever: str) -> Reading:
        """How much of a text a retriever reads."""
        reading = Reading.configured(self.config)
        known = shipped(self.config["retriever"][retriever]["_target_"])
        if self.is_foreign(retriever):
            return replace(reading, whole_texts="unknown")
        if known is not None and known.reads_whole_texts:
            return replace(reading, whole_texts="yes")
        # A hybrid that builds on such a retriever reads some of its input whole.
        partly = retriever in self.content.read_whole_texts
        return replace(reading, whole_texts="partly" if partly else "no")

    def is_foreign(self, retriever: str) -> bool:
        """Whether its runs were made elsewhere, or build on such runs."""
        settings = self.config["retriever"].get(retriever, {})
        known = shipped(settings.get("_target_", ""))
        below = any(map(self.is_foreign, inputs(settings)))
        return below or (known is not None and known.foreign is not None)

    def holds(self, other: SiteResult) -> bool:
        """Whether another result has the same benchmark, encoder and texts, and no new score."""
        names = self.benchmark["name"], self.encoder_name
        if names != (other.benchmark["name"], other.encoder_name):
            return False
        same_texts = other.hashes.keys() <= self.hashes.keys() and not any(
            differences(self.hashes[name], hashes) for name, hashes in other.hashes.items()
        )
        # Averages depend on the other languages.
        cells = {cell for cell in _cells(other.content) if cell[2] != AVERAGE}
        return same_texts and cells <= _cells(self.content)

    @cached_property
    def distances(self) -> dict[tuple[str, str, str], PublishedDistance]:
        """The distance to a published number, by metric, retriever and language."""
        return {
            (metric, distance.retriever, distance.language): distance
            for metric, distances in self.content.distances.items()
            for distance in distances
        }

    @cached_property
    def comparison(self) -> PairedComparison | None:
        """The paired tests beside it or, of several encoders, beside their folders."""
        if self.folder.name == "scores":
            folders = [folder / "comparison" for folder in self.folder.parents[:2]]
        else:
            folders = [self.folder, self.folder.parent]
        for folder in folders:
            if comparison := read_comparison(folder):
                return comparison
        return None


def _cells(result: Result) -> set[tuple[str, str, str, float | None]]:
    """Metric, retriever, language and score."""
    return {
        (metric, retriever, language, score)
        for metric, by_retriever in result.scores.items()
        for retriever, by_language in by_retriever.items()
        for language, score in by_language.items()
    }


def read_results(files: Iterable[Path]) -> list[SiteResult]:
    """The results in files; no two of them have the same name.

    Raises:
        UserError: files are not what stage 2 wrote; all of them are named.
    """
    paths = list(files)
    contents = together([lambda path=path: _read(path) for path in paths])
    results = [
        SiteResult(path.parent, content) for path, content in zip(paths, contents, strict=True)
    ]
    counts = Counter(result.name for result in results)
    return [
        replace(result, apart=f" ({place_of(result.folder)})")
        if counts[result.name] > 1
        else result
        for result in results
    ]


def place_of(folder: Path) -> str:
    """Where a result lies, as far as its name does not say it."""
    above = folder.parents[2] if folder.name == "scores" else folder.parent
    return above.as_posix()


def _read(path: Path) -> Result:
    result = read_result(ScoreFiles(path.parent), AGAIN)
    if not (any(result.scores.values()) and result.judged_queries):
        raise UserError(f"{path} is no result of m3eval: it has no scores. {AGAIN}")
    return result


def scores_below(folder: Path) -> list[Path]:
    """Every scores.json at or below a folder, outside of hidden folders, in the order of paths."""
    name = ScoreFiles(folder).json.name
    return sorted(
        path
        for path in folder.rglob(name)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
