"""Any retrieval set in the layout of MTEB or BeIR: on the hub, in a mirror or in a folder.

Corpus, queries and judgements are configurations of one repository, or judgements lie in another
whose name ends in -qrels; `configurations.py` finds them. Files are read as data: a script that
lies beside them is not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m3eval import hub
from m3eval.benchmarks.configurations import (
    CARD,
    QRELS,
    UNNAMED,
    Configurations,
    RetrievalParts,
    configurations,
    languages_of_card,
    of_card,
    of_split,
    parts,
)
from m3eval.benchmarks.formats import ending, read_documents, read_queries, unread_documents
from m3eval.benchmarks.languages import code_of, is_language
from m3eval.benchmarks.qrels import read_qrels
from m3eval.benchmarks.task import Corpus, Task
from m3eval.errors import UserError
from m3eval.hub import Files
from m3eval.kinds import Name


@dataclass(frozen=True)
class Repository:
    """A data set, of which at least what says its configurations is here."""

    name: str  # owner/name on the hub, or a folder
    folder: Path
    revision: str | None  # as configured
    configurations: Configurations
    whole: bool  # whether no card tells its files apart, so that all are fetched

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of the user's, which no hub has."""
        return is_folder(self.name)

    def files(self, patterns: list[str]) -> Files:
        """The files that match, and the card."""
        return Files(self.name, self.revision, ["*"] if self.whole else [CARD, *patterns])


@dataclass(frozen=True)
class HubSet:
    """A retrieval set; conf/benchmark/hub.yaml explains each field."""

    repository: str
    split: str
    language: Name | None
    root: str | None
    revision: str | None
    qrels_revision: str | None

    @cached_property
    def languages(self) -> list[str]:
        """The languages that the configurations are named by, or the one that is asked for.

        Raises:
            UserError: there is no retrieval set, or nothing says its language.
        """
        names = list(self._parts)
        if names == [UNNAMED]:
            if self.language is None:
                says = ", ".join(languages_of_card(self._repository.folder))
                raise UserError(
                    f"{self.repository}: the names of its configurations do not say the language"
                    + (f"; its card says {says}" if says else "")
                    + ": say which, as in benchmark.language=en."
                )
            return [self.language]
        names = [name for name in names if name != UNNAMED]
        unknown = [name for name in names if not is_language(name)]
        if self.language and not unknown:
            raise UserError(
                f"benchmark.language={self.language}: the configurations of {self.repository} say "
                f"their languages themselves ({', '.join(names)}): leave it out, and choose with "
                "languages= among them."
            )
        if unknown and not self.language:
            raise UserError(
                f"{self.repository}: {', '.join(unknown)} are names of configurations, and of no "
                "language: say which language they are in, as in benchmark.language=en."
            )
        return names

    def files(self, language: str) -> list[Files]:
        """The files of one language: of the repository, and of that of its judgements.

        Raises:
            UserError: it is a folder, of which nothing is to be mirrored.
        """
        if self._repository.is_local:
            raise UserError(
                f"benchmark.repository={self.repository} is a folder already: there is nothing to "
                "mirror."
            )
        return [place.files(patterns) for place, patterns in self._needed(language)]

    def task(self, language: str) -> Task:
        """Gets the files of one language and reads its queries and judgements.

        Queries that nobody judged are left out, as BEIR and MTEB do: a repository often has those
        of all splits together.

        Raises:
            UserError: files are missing, damaged or out of reach, or the split does not exist.
        """
        needed = self._needed(language)
        folders = [self._fetched(*each) for each in needed]
        corpus, queries, qrels = (
            paths_of(folder, patterns)
            for folder, patterns in (
                (folders[0], self._corpus(language)),
                (folders[0], self._queries(language)),
                (folders[-1], self._qrels(language)),
            )
        )
        published = not self._repository.is_local
        judged = read_qrels(*qrels, published=published)
        asked = read_queries(*queries, published=published)
        return Task(
            language,
            Corpus(
                language,
                lambda: read_documents(*corpus, published=published),
                language=code_of(language) or self.language,
                files=corpus,
                unread=lambda: unread_documents(*corpus, published=published),
            ),
            [query for query in asked if query.qid in judged] or asked,
            judged,
            commits={
                place.name: hub.commit(folder)
                for (place, _), folder in zip(needed, folders, strict=True)
                if not place.is_local
            },
        )

    @cached_property
    def _repository(self) -> Repository:
        return opened(self.repository, self.root, self.revision)

    @cached_property
    def _judgements(self) -> Repository:
        """The repository of the judgements, where they have one of their own."""
        return opened(self.repository.rstrip("/") + QRELS, self.root, self.qrels_revision)

    @cached_property
    def _parts(self) -> dict[str, RetrievalParts]:
        """The retrieval sets of the repository, by language. Raises UserError: there are none."""
        found = self._repository.configurations
        if sets := parts(found):
            return sets
        has = f"It has {', '.join(found)}." if found else "It has no files of rows."
        raise UserError(
            f"{self.repository} is no retrieval set: it needs configurations corpus and queries, "
            f"or ko-corpus and ko-queries for a language ko. {has} docs/data.md shows the layouts."
        )

    def _of(self, language: str) -> RetrievalParts:
        return self._parts.get(language) or self._parts[UNNAMED]

    def _corpus(self, language: str) -> tuple[str, ...]:
        found = self._repository.configurations
        return of_split(found, self._of(language).corpus, self.split, exactly=False)

    def _queries(self, language: str) -> tuple[str, ...]:
        found = self._repository.configurations
        return of_split(found, self._of(language).queries, self.split, exactly=False)

    def _qrels(self, language: str) -> tuple[str, ...]:
        name = self._of(language).qrels
        if name is not None:
            return of_split(self._repository.configurations, name, self.split, exactly=True)
        found = self._judgements.configurations
        for name in ("default", "qrels"):
            if name in found:
                return of_split(found, name, self.split, exactly=True)
        # Files test.tsv and train.tsv are splits, though names alone make configurations of them.
        splits = {each: files for each, all_of in found.items() for files in all_of.values()}
        return of_split({"default": splits}, "default", self.split, exactly=True)

    def _needed(self, language: str) -> list[tuple[Repository, list[str]]]:
        """Repositories and the globs of what is needed of each, judgements last."""
        texts = [*self._corpus(language), *self._queries(language)]
        qrels = [*self._qrels(language)]
        if self._of(language).qrels is None:
            return [(self._repository, texts), (self._judgements, qrels)]
        return [(self._repository, [*texts, *qrels])]

    def _fetched(self, place: Repository, patterns: list[str]) -> Path:
        """The folder of a repository, with the files that match."""
        files = place.files(patterns)
        if place.is_local:
            return hub.require_parts(place.folder, files)
        # Of a branch, the commit whose card was read.
        at = hub.commit(place.folder) if self.root is None else None
        return hub.fetch(files._replace(revision=at or files.revision), self.root)


def is_folder(repository: str) -> bool:
    """Whether a setting names a folder: by its first sign, whatever lies in the current one."""
    return repository.startswith((".", "/", "~"))


def opened(name: str, root: str | None, revision: str | None) -> Repository:
    """A data set's configurations, from its card on the hub, in a mirror or in a folder.

    Raises:
        UserError: it is missing or out of reach.
    """
    if is_folder(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"{name} does not exist, or is no folder: a retrieval set is one.")
        return Repository(name, folder, None, configurations(folder), whole=False)
    if len(name.split("/")) != 2:
        raise UserError(
            f"benchmark.repository={name}: give OWNER/NAME of the hub, or a folder, which begins "
            "with / or ./ or ~."
        )
    if root is not None and (folder := Path(root).expanduser() / name).is_dir():
        named = of_card(folder)
        return Repository(name, folder, revision, named or configurations(folder), not named)
    mirror = f"benchmark.root=/mirror, the files being in /mirror/{name}"
    folder = hub.download(Files(name, revision, [CARD]), mirror)
    if named := of_card(folder):
        return Repository(name, folder, revision, named, whole=False)
    folder = hub.download(Files(name, hub.commit(folder) or revision, ["*"]), mirror)
    return Repository(name, folder, revision, configurations(folder), whole=True)


def paths_of(folder: Path, patterns: tuple[str, ...]) -> tuple[Path, ...]:
    """The files of rows in a folder that match, in the order of their names.

    Raises:
        UserError: there are none.
    """
    found = {path for pattern in patterns for path in folder.glob(pattern) if ending(path)}
    if not found:
        raise UserError(f"{folder} has no files of rows {' and no '.join(patterns)}.")
    return tuple(sorted(found))
