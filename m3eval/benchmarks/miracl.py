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
from m3eval.errors import UserError

CORPUS, TOPICS = "miracl/miracl-corpus", "miracl/miracl"  # repositories on the hub


@dataclass(frozen=True)
class Miracl:
    """The benchmark's files; see conf/benchmark/miracl.yaml for each field."""

    languages: list[str]
    split: str
    root: str | None
    corpus_revision: str | None
    topics_revision: str | None
    published_passages: Mapping[str, int]
    published_queries: Mapping[str, int]

    def task(self, language: str) -> Task:
        """Finds the files of one language and reads its queries and judgements.

        Raises:
            UserError: files are missing, damaged or out of reach.
        """
        topics = self._folder(TOPICS, f"miracl-v1.0-{language}/*/*-{language}-{self.split}.tsv", self.topics_revision)
        docs = self._folder(CORPUS, f"miracl-corpus-v1.0-{language}/docs-*.jsonl.gz", self.corpus_revision)
        folder, name = topics / f"miracl-v1.0-{language}", f"miracl-v1.0-{language}-{self.split}.tsv"
        shards = sorted((docs / f"miracl-corpus-v1.0-{language}").glob("docs-*.jsonl.gz"), key=_number)

        def read() -> Iterator[Document]:
            for shard in shards:
                yield from read_documents(shard)

        return Task(
            language,
            Corpus(language, read, self.published_passages.get(language)),
            read_queries(folder / "topics" / f"topics.{name}"),
            read_qrels(folder / "qrels" / f"qrels.{name}"),
            published_queries=self.published_queries.get(language),
        )

    def _folder(self, repository: str, pattern: str, revision: str | None) -> Path:
        """The folder that has the repository's files: in the mirror, or in the hub's cache."""
        if self.root is None:
            mirror = f"benchmark.root=/mirror, the files being in /mirror/{repository}"
            folder = hub.download(repository, "dataset", revision, [pattern], [], mirror)
        else:
            folder = Path(self.root).expanduser() / repository
        if not any(folder.glob(pattern)):
            raise UserError(f"{repository} has no files {pattern} in {folder}: languages are {', '.join(self.languages)}.")
        return folder


def _number(shard: Path) -> int:
    """docs-10 comes after docs-9."""
    return int(shard.name.removeprefix("docs-").removesuffix(".jsonl.gz"))
