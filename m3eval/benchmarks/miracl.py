"""MIRACL: retrieval of Wikipedia paragraphs in 18 languages (Zhang et al., TACL 2023).

Tables 1 and 12 of the M3 paper report it. Its files lie in two data sets on the hub:
``miracl/miracl-corpus`` has ``miracl-corpus-v1.0-{language}/docs-{n}.jsonl.gz``, and
``miracl/miracl`` has ``miracl-v1.0-{language}/topics/topics.miracl-v1.0-{language}-{split}.tsv``
and the judgements in ``miracl-v1.0-{language}/qrels``. They are read as plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from m3eval import hub
from m3eval.benchmarks.formats import read_documents, read_queries, unread_documents
from m3eval.benchmarks.landing import landing
from m3eval.benchmarks.qrels import read_qrels
from m3eval.benchmarks.task import Corpus, Task
from m3eval.hub import Files

CORPUS, TOPICS = "miracl/miracl-corpus", "miracl/miracl"  # repositories on the hub


@dataclass(frozen=True)
class Miracl:
    """The benchmark's files; conf/benchmark/miracl.yaml explains each field."""

    languages: list[str]
    split: str
    root: str | None
    corpus_revision: str | None
    topics_revision: str | None
    published_documents: Mapping[str, int]
    published_queries: Mapping[str, int]

    def files(self, language: str) -> list[Files]:
        """The files of one language: topics and judgements, then the corpus."""
        topics = f"miracl-v1.0-{language}/*/*-{language}-{self.split}.tsv"
        documents = f"miracl-corpus-v1.0-{language}/docs-*.jsonl.gz"
        return [
            Files(TOPICS, self.topics_revision, [topics]),
            Files(CORPUS, self.corpus_revision, [documents]),
        ]

    def task(self, language: str) -> Task:
        """Gets the files of one language and reads its queries and judgements.

        Raises:
            UserError: files are missing, damaged or out of reach.
        """
        topics, corpus = (hub.fetch(files, self.root) for files in self.files(language))
        folder = topics / f"miracl-v1.0-{language}"
        name = f"miracl-v1.0-{language}-{self.split}.tsv"
        shards = (corpus / f"miracl-corpus-v1.0-{language}").glob("docs-*.jsonl.gz")
        in_order = sorted(shards, key=_number)
        return Task(
            language,
            Corpus(
                language,
                lambda: read_documents(*in_order, published=True),
                self.published_documents.get(language),
                files=tuple(in_order),
                landing=landing("miracl", "documents", language),
                unread=lambda: unread_documents(*in_order, published=True),
            ),
            read_queries(folder / "topics" / f"topics.{name}", published=True),
            read_qrels(folder / "qrels" / f"qrels.{name}", published=True),
            published_queries=self.published_queries.get(language),
            landing=landing("miracl", f"queries-{self.split}", language),
            commits={CORPUS: hub.commit(corpus), TOPICS: hub.commit(topics)},
        )


def _number(shard: Path) -> int:
    """The number in a shard's name, since docs-10 comes after docs-9."""
    return int(shard.name.removeprefix("docs-").removesuffix(".jsonl.gz"))
