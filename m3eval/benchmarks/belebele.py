"""Belebele as MTEB's BelebeleRetrieval: find the passage that a question was asked about.

The hub's ``mteb/belebele`` has a configuration per language and script, whose rows are questions
beside their passages. As MTEB makes a retrieval task of them (revision 979a211):

- a document is the passage of the first row with its ``link``; documents are C0, C1 ... in the
  order of the rows;
- a query is a question, once however often it is asked; queries are Q0, Q1 ... in that order;
- relevant is the document with the link of the question.

A language is the name of a configuration, or two of them, CORPUS-QUERIES: kor_Hang-eng_Latn
searches Korean documents for English questions. Languages that search one corpus share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m3eval import hub
from m3eval.benchmarks.configurations import of_split
from m3eval.benchmarks.fields import text
from m3eval.benchmarks.formats import rows
from m3eval.benchmarks.hub_set import Repository, opened, paths_of
from m3eval.benchmarks.languages import code_of
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.errors import UserError
from m3eval.hub import Files

REPOSITORY = "mteb/belebele"
ENGLISH = "eng_Latn"
TWO_SCRIPTS = ("arb", "ben", "hin", "npi", "sin", "urd")  # asked in one, found in the other


@dataclass(frozen=True)
class Belebele:
    """The benchmark's files; conf/benchmark/belebele.yaml explains each field."""

    configurations: list[str]
    split: str
    root: str | None
    revision: str | None
    published_documents: int | None
    # Of each configuration whose questions are not all different; and of all others.
    published_queries: Mapping[str, int]

    @cached_property
    def languages(self) -> list[str]:
        """MTEB's: each configuration alone, each with English both ways, and pairs of scripts."""
        names = self.configurations
        pairs = [
            pair
            for name in names
            if name != ENGLISH
            for pair in (f"{name}-{ENGLISH}", f"{ENGLISH}-{name}")
        ]
        for code in TWO_SCRIPTS:
            scripts = [name for name in names if name.startswith(f"{code}_")]
            pairs += [f"{one}-{other}" for one in scripts for other in scripts if one != other]
        return [*names, *pairs]

    def files(self, language: str) -> list[Files]:
        """The files of one language: of the corpus' configuration and of the questions'."""
        patterns = [pattern for name in sorted({*_pair(language)}) for pattern in self._of(name)]
        return [self._repository.files(patterns)]

    def task(self, language: str) -> Task:
        """Gets the files of one language and reads its questions.

        Raises:
            UserError: files are missing, damaged or out of reach; or a question has no document in
                the other language.
        """
        (files,) = self.files(language)
        at = hub.commit(self._repository.folder) if self.root is None else None
        folder = hub.fetch(files._replace(revision=at or files.revision), self.root)
        corpus, asked = _pair(language)
        documents, questions = (paths_of(folder, self._of(name)) for name in (corpus, asked))
        docids = {link: docid for docid, link, _ in _documents(documents)}
        qids: dict[str, str] = {}
        qrels: dict[str, dict[str, int]] = {}
        for where, link, question in _questions(questions):
            qid = qids.setdefault(question, f"Q{len(qids)}")
            if link not in docids:
                raise UserError(
                    f"{where}: no document of {corpus} has the link {link!r}: {REPOSITORY} has the "
                    "same links in every language, so its files are not all of one revision."
                )
            qrels.setdefault(qid, {})[docids[link]] = 1
        return Task(
            language,
            Corpus(
                corpus,
                lambda: (
                    Document(docid, "", passage) for docid, _, passage in _documents(documents)
                ),
                self.published_documents,
                language=code_of(corpus),
                files=documents,
            ),
            [Query(qid, question) for question, qid in qids.items()],
            qrels,
            published_queries=self.published_queries.get(
                asked, self.published_queries.get("others")
            ),
            commits={REPOSITORY: hub.commit(folder)},
        )

    @cached_property
    def _repository(self) -> Repository:
        return opened(REPOSITORY, self.root, self.revision)

    def _of(self, name: str) -> tuple[str, ...]:
        found = self._repository.configurations
        if name not in found:
            raise UserError(f"{REPOSITORY} has no configuration {name}: it has {', '.join(found)}.")
        return of_split(found, name, self.split, exactly=False)


def _pair(language: str) -> tuple[str, str]:
    """The configurations of the corpus and of the questions."""
    corpus, _, questions = language.partition("-")
    return corpus, questions or corpus


def _documents(paths: tuple[Path, ...]) -> Iterator[tuple[str, str, str]]:
    """Each document once, in the order of the rows: id, link, text."""
    seen: set[str] = set()
    for path in paths:
        for where, row in rows(path, published=True):
            link = text(row, where, "link", published=True)
            if link not in seen:
                yield f"C{len(seen)}", link, text(row, where, "flores_passage", published=True)
                seen.add(link)


def _questions(paths: tuple[Path, ...]) -> Iterator[tuple[str, str, str]]:
    """Every row: its place, link and question."""
    for path in paths:
        for where, row in rows(path, published=True):
            yield (
                where,
                text(row, where, "link", published=True),
                text(row, where, "question", published=True),
            )
