"""NarrativeQA as a retrieval task: find the book or film script that a question is about.

Table 4 of the M3 paper reports it. The paper uses the task of Günther et al. (2024), which is also
MTEB's NarrativeQARetrieval. It asks every question of the test split; the id of a question is its
number in the split, and the one relevant document is the one that it was asked about. The files are
the parquet shards ``data/{split}-*-of-*.parquet`` of the hub's ``deepmind/narrativeqa``. They
repeat a document beside each of its questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from m3eval import hub
from m3eval.benchmarks.arrowfiles import parquet_rows
from m3eval.benchmarks.fields import identifier, nested, text
from m3eval.benchmarks.landing import landing
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.hub import Files

REPOSITORY = "deepmind/narrativeqa"


@dataclass(frozen=True)
class NarrativeQA:
    """The benchmark's files; conf/benchmark/narrativeqa.yaml explains each field."""

    languages: list[str]
    split: str
    root: str | None
    revision: str | None
    published_documents: int | None
    published_queries: int | None

    def files(self, language: str) -> list[Files]:
        """The shards of the split. They do not depend on the language, since there is only one."""
        return [Files(REPOSITORY, self.revision, [f"data/{self.split}-*.parquet"])]

    def task(self, language: str) -> Task:
        """Gets the shards and reads the questions.

        Raises:
            UserError: shards are missing, damaged or out of reach.
        """
        (files,) = self.files(language)
        folder = hub.fetch(files, self.root)
        shards = sorted(folder.glob(files.patterns[0]))
        asked = list(_questions(shards))
        return Task(
            language,
            Corpus(
                language,
                lambda: _documents(shards),
                self.published_documents,
                files=tuple(shards),
                landing=landing("narrativeqa", f"documents-{self.split}", language),
            ),
            [Query(str(i), question) for i, (question, _) in enumerate(asked)],
            {str(i): {docid: 1} for i, (_, docid) in enumerate(asked)},
            published_queries=self.published_queries,
            commits={REPOSITORY: hub.commit(folder)},
        )


def _questions(shards: list[Path]) -> Iterator[tuple[str, str]]:
    """Every question, with the id of the document that it was asked about."""
    for shard in shards:
        for where, row in parquet_rows(shard, ["question.text", "document.id"], published=True):
            question = text(nested(row, where, "question"), where, "text", published=True)
            yield question, identifier(nested(row, where, "document"), where, "id")


def _documents(shards: list[Path]) -> Iterator[Document]:
    """Each document once, in the order in which they first occur.

    A row holds a whole book, so only 16 rows are in memory at a time.
    """
    seen: set[str] = set()
    for shard in shards:
        columns = ["document.id", "document.text"]
        for where, row in parquet_rows(shard, columns, at_once=16, published=True):
            document = nested(row, where, "document")
            docid = identifier(document, where, "id")
            if docid not in seen:
                seen.add(docid)
                yield Document(docid, "", text(document, where, "text", published=True))
