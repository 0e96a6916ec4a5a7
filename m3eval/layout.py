"""Where everything lies under the output folder: every name of a file or folder, in one place.

{output_dir}/{benchmark}/{encoder}/stores/{text set}/manifest.json   a store: see `StoreFiles`
                                   runs/{retriever}/{language}.trec  a run: see `RunFiles`
                                   scores/scores.json                a result: see `ScoreFiles`
                                   comparison/  gate/  scratch/
{output_dir}/{benchmark}/texts/{text set}-{key}.json                 see `Layout.census`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoreFiles:
    """A store of stage 0."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """Written last: a store that has it is finished."""
        return self.folder / "manifest.json"

    @property
    def plan(self) -> Path:
        """What the store is to hold. The file is removed once the store is finished."""
        return self.folder / "plan.json"

    @property
    def lock(self) -> Path:
        """Held by the process that writes the store."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    @property
    def replacement(self) -> StoreFiles:
        """Where a store is written that is to replace this one once it is whole."""
        return StoreFiles(self.folder.with_name(f".{self.folder.name}.new"))

    @property
    def replaced(self) -> Path:
        """Where this store goes, for a moment, when another takes its place."""
        return self.folder.with_name(f".{self.folder.name}.old")

    @property
    def cost(self) -> Path:
        """The time and tokens that encoding took."""
        return self.folder / "cost.json"

    @property
    def costs(self) -> Path:
        """The folder of what each of several processes took, until the store is finished."""
        return self.folder / "costs"

    @property
    def shards(self) -> Path:
        """The folder of shards."""
        return self.folder / "shards"

    def shard(self, number: int) -> Path:
        """A shard's folder."""
        return self.shards / f"{number:05d}"

    def written_shards(self) -> list[Path]:
        """The folders of the shards that exist, in the order of their numbers."""
        shards = [path for path in self.shards.glob("*") if re.fullmatch(r"\d+", path.name)]
        return sorted(shards, key=lambda path: int(path.name))


@dataclass(frozen=True)
class RunFiles:
    """A run of stage 1 and what stands beside it."""

    trec: Path  # {retriever}/{language}.trec

    @property
    def retriever(self) -> str:
        """The retriever's name."""
        return self.trec.parent.name

    @property
    def language(self) -> str:
        """The language of the queries."""
        return self.trec.stem

    @property
    def manifest(self) -> Path:
        """Written last: a run that has it is finished."""
        return self.trec.with_suffix(".json")

    @property
    def lock(self) -> Path:
        """Held by the process that makes the run."""
        return self.trec.with_name(f".{self.language}.lock")

    @property
    def parts(self) -> Path:
        """The folder of the lists of parts of the corpus, until they are merged."""
        return self.trec.with_name(f"{self.language}.parts")

    def part(self, number: int, of: int) -> RunFiles:
        """The lists of one of so many parts, and what stands beside them."""
        return RunFiles(self.parts / f"{number}-of-{of}.trec")

    def parts_there(self) -> list[tuple[int, int]]:
        """Number, from 0, and count of the parts whose lists are finished, in order."""
        named = (re.fullmatch(r"(\d+)-of-(\d+)", path.stem) for path in self.parts.glob("*.json"))
        return sorted((int(name[1]), int(name[2])) for name in named if name)

    @property
    def cost(self) -> Path:
        """The time that the search took."""
        return self.trec.with_suffix(".cost.json")

    @property
    def components(self) -> Path:
        """The component scores that a hybrid's scores are made of."""
        return self.trec.with_suffix(".components.tsv")

    @property
    def names(self) -> set[str]:
        """The names of all files of the run."""
        return {path.name for path in (self.trec, self.manifest, self.cost, self.components)}


@dataclass(frozen=True)
class ScoreFiles:
    """A result of stage 2."""

    folder: Path

    @property
    def lock(self) -> Path:
        """Held by the process that writes the result."""
        return self.folder / ".lock"

    @property
    def json(self) -> Path:
        """For programs, with everything that the numbers rest on."""
        return self.folder / "scores.json"

    @property
    def csv(self) -> Path:
        """For spreadsheets."""
        return self.folder / "scores.csv"

    @property
    def markdown(self) -> Path:
        """For people."""
        return self.folder / "scores.md"

    @property
    def per_query(self) -> Path:
        """The scores of single queries."""
        return self.folder / "per_query.csv"


@dataclass(frozen=True)
class ComparisonFiles:
    """What `m3eval compare` writes."""

    folder: Path

    def named(self, suffix: str) -> Path:
        """The file with a suffix: md, tex, csv or json."""
        return self.folder / f"comparison.{suffix}"

    @property
    def all(self) -> list[Path]:
        """Every file of it."""
        return [self.named(suffix) for suffix in ("md", "tex", "csv", "json")]


@dataclass(frozen=True)
class Layout:
    """All files of one encoder on one benchmark."""

    folder: Path

    @classmethod
    def of(cls, output_dir: str | Path, benchmark: str, encoder: str) -> Layout:
        """The layout by the names that a configuration gives."""
        return cls(Path(output_dir) / benchmark / encoder)

    def beside(self, encoder: str) -> Layout:
        """The layout of another encoder on this benchmark."""
        return Layout(self.folder.parent / encoder)

    def store(self, text_set: str) -> StoreFiles:
        """The store of a text set."""
        return StoreFiles(self.folder / "stores" / text_set)

    def stores(self) -> Iterator[StoreFiles]:
        """The stores that are there, finished or not, by name."""
        for folder in sorted(self.folder.glob("stores/*/")):
            files = StoreFiles(folder)
            hidden = folder.name.startswith(".")  # a store that is to replace another
            if not hidden and (files.manifest.exists() or files.plan.exists()):
                yield files

    def census(self, text_set: str, key: str) -> Path:
        """What reading a text set found, for all encoders; it may be removed at any time.

        Args:
            text_set: the name of the set.
            key: a digest of all that decides it.
        """
        return self.folder.parent / "texts" / f"{text_set}-{key}.json"

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.folder / "runs"

    def run(self, retriever: str, language: str) -> RunFiles:
        """The files of a run."""
        return RunFiles(self.runs / retriever / f"{language}.trec")

    @property
    def scores(self) -> ScoreFiles:
        """The files of the result."""
        return ScoreFiles(self.folder / "scores")

    @property
    def comparison(self) -> ComparisonFiles:
        """A comparison of this encoder's systems."""
        return ComparisonFiles(self.folder / "comparison")

    @property
    def comparison_of_encoders(self) -> ComparisonFiles:
        """A comparison of several encoders' systems."""
        return ComparisonFiles(self.folder.parent / "comparison")

    @property
    def gate(self) -> Path:
        """What `m3eval gate` writes."""
        return self.folder / "gate"

    @property
    def scratch(self) -> Path:
        """Indexes that stage 1 makes, in a folder for each process; nothing outlives the stage."""
        return self.folder / "scratch"
