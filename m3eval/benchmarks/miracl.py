"""MIRACL: ad-hoc retrieval over Wikipedia in 18 languages (Zhang et al., TACL 2023), as in Tables 1 and 12 of the M3 paper.

Files are those of the two hub data sets, read as plain data: ``miracl/miracl-corpus`` holds
``miracl-corpus-v1.0-{language}/docs-{n}.jsonl.gz``, ``miracl/miracl`` holds
``miracl-v1.0-{language}/topics/topics.miracl-v1.0-{language}-{split}.tsv`` and the qrels beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from m3eval import hub
from m3eval.benchmarks.formats import read_documents, read_qrels, read_queries
from m3eval.benchmarks.task import Corpus, Document, Task
from m3eval.hub import Files

CORPUS, TOPICS = "miracl/miracl-corpus", "miracl/miracl"  # repositories on the hub


@dataclass(frozen=True)
class Miracl:
    """The benchmark's files; see conf/benchmark/miracl.yaml for each field."""

    languages: list[str]
    split: str
    root: str | None
    corpus_revision: str | None
    topics_revision: str | None
    published_documents: Mapping[str, int]
    published_queries: Mapping[str, int]

    def files(self, language: str) -> list[Files]:
        """What one language needs of the hub: topics and judgements, then the corpus."""
        return [
            Files(
                TOPICS,
                self.topics_revision,
                [f"miracl-v1.0-{language}/*/*-{language}-{self.split}.tsv"],
            ),
            Files(CORPUS, self.corpus_revision, [f"miracl-corpus-v1.0-{language}/docs-*.jsonl.gz"]),
        ]

    def task(self, language: str) -> Task:
        """Finds the files of one language and reads its queries and judgements.

        Raises:
            UserError: files are missing, damaged or out of reach.
        """
        topics, docs = (hub.fetch(files, self.root) for files in self.files(language))
        folder, name = (
            topics / f"miracl-v1.0-{language}",
            f"miracl-v1.0-{language}-{self.split}.tsv",
        )
        shards = sorted(
            (docs / f"miracl-corpus-v1.0-{language}").glob("docs-*.jsonl.gz"), key=_number
        )

        def read() -> Iterator[Document]:
            for shard in shards:
                yield from read_documents(shard)

        return Task(
            language,
            Corpus(language, read, self.published_documents.get(language)),
            read_queries(folder / "topics" / f"topics.{name}"),
            read_qrels(folder / "qrels" / f"qrels.{name}"),
            published_queries=self.published_queries.get(language),
            commits={CORPUS: hub.commit(docs), TOPICS: hub.commit(topics)},
        )


def _number(shard: Path) -> int:
    """docs-10 comes after docs-9."""
    return int(shard.name.removeprefix("docs-").removesuffix(".jsonl.gz"))
