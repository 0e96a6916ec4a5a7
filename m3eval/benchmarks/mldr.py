"""MLDR: retrieval of long documents in 13 languages, made for the M3 paper (Tables 3 and 7).

All files lie in the hub's data set ``Shitao/MLDR``. They are read as plain data; the script that
lies beside them is not run.

- ``mldr-v1.0-{language}/corpus.jsonl.gz`` has the documents (docid, text);
- ``mldr-v1.0-{language}/{split}.jsonl.gz`` has the queries (query_id, query) and, beside each,
  documents, which are not used here;
- ``qrels/qrels.mldr-v1.0-{language}-{split}.tsv`` has the judgements in TREC's columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m3eval import hub
from m3eval.benchmarks.formats import read_documents, read_queries, unread_documents
from m3eval.benchmarks.landing import landing
from m3eval.benchmarks.qrels import read_qrels
from m3eval.benchmarks.task import Corpus, Task
from m3eval.hub import Files

REPOSITORY = "Shitao/MLDR"


@dataclass(frozen=True)
class Mldr:
    """The benchmark's files; conf/benchmark/mldr.yaml explains each field."""

    languages: list[str]
    split: str
    root: str | None
    revision: str | None
    published_documents: Mapping[str, int]
    published_queries: Mapping[str, Mapping[str, int]]  # split -> language -> number

    def files(self, language: str) -> list[Files]:
        """The files of one language: corpus, queries, judgements."""
        folder = f"mldr-v1.0-{language}"
        names = [
            f"{folder}/corpus.jsonl.gz",
            f"{folder}/{self.split}.jsonl.gz",
            f"qrels/qrels.{folder}-{self.split}.tsv",
        ]
        return [Files(REPOSITORY, self.revision, names)]

    def task(self, language: str) -> Task:
        """Gets the files of one language and reads its queries and judgements.

        Raises:
            UserError: files are missing, damaged or out of reach.
        """
        (files,) = self.files(language)
        folder = hub.fetch(files, self.root)
        corpus, queries, qrels = (folder / name for name in files.patterns)
        return Task(
            language,
            Corpus(
                language,
                lambda: read_documents(corpus, published=True),
                self.published_documents.get(language),
                files=(corpus,),
                landing=landing("mldr", "documents", language),
                unread=lambda: unread_documents(corpus, published=True),
            ),
            read_queries(queries, published=True),
            read_qrels(qrels, published=True),
            published_queries=self.published_queries.get(self.split, {}).get(language),
            commits={REPOSITORY: hub.commit(folder)},
        )
