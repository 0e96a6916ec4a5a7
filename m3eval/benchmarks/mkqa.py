"""MKQA: questions in 25 languages over English Wikipedia, judged by English answer strings (Tables 2 and 13 of the M3 paper).

The corpus is the hub's ``BeIR/nq`` (_id, title, text), one for all languages: ``corpus.jsonl.gz`` in older revisions,
``corpus/corpus-*.parquet`` in newer ones. The questions are those the paper's scripts read, ``MKQA_test-data.zip`` of
``Shitao/bge-m3-data`` with a ``{language}.jsonl`` (id, question, answers) for each language; or MKQA's own ``mkqa.jsonl.gz``
(Longpre et al., TACL 2021), to which the same filter is applied here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from m3eval import hub
from m3eval.benchmarks.formats import json_rows, read_documents, zipped_json_rows
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.errors import UserError
from m3eval.hub import Files

CORPUS, QUESTIONS = "BeIR/nq", "Shitao/bge-m3-data"  # repositories on the hub
ARCHIVE = "MKQA_test-data.zip"
UNANSWERED = {
    "unanswerable",
    "binary",
    "long_answer",
}  # types of answer that no document can be searched for

Asked = list[tuple[str, str, list[str]]]  # qid, question, English answers


@dataclass(frozen=True)
class Mkqa:
    """The benchmark's files; see conf/benchmark/mkqa.yaml for each field."""

    languages: list[str]
    root: str | None
    original: str | None
    corpus_revision: str | None
    questions_revision: str | None
    mkqa_denominator: Literal["all", "run"]
    published_documents: int | None
    published_queries: int | None

    def files(self, language: str) -> list[Files]:
        """What one language needs of the hub: the corpus and, unless MKQA's own file is at hand, the questions."""
        corpus = Files(CORPUS, self.corpus_revision, ["corpus*"])
        return (
            [corpus]
            if self.original
            else [corpus, Files(QUESTIONS, self.questions_revision, [ARCHIVE])]
        )

    def task(self, language: str) -> Task:
        """Finds the files and reads the questions of one language.

        Raises:
            UserError: files are missing, damaged or out of reach, or do not have the language.
        """
        folders = {files.repository: hub.fetch(files, self.root) for files in self.files(language)}
        asked = (
            read_original(Path(self.original).expanduser(), language)
            if self.original
            else read_archive(folders[QUESTIONS] / ARCHIVE, language)
        )
        shards = _shards(folders[CORPUS])

        def read() -> Iterator[Document]:
            for shard in shards:
                yield from read_documents(shard)

        return Task(
            language,
            Corpus("nq", read, self.published_documents, language="en"),
            [Query(qid, question) for qid, question, _ in asked],
            answers={qid: answers for qid, _, answers in asked},
            published_queries=self.published_queries,
            denominator=self.mkqa_denominator,
            commits={repository: hub.commit(folder) for repository, folder in folders.items()},
        )


def read_archive(path: Path, language: str) -> Asked:
    """The questions as the paper's scripts read them; they are filtered already."""
    rows = zipped_json_rows(path, f"{language}.jsonl")
    return [
        (
            str(_field(row, "id", where)),
            _field(row, "question", where),
            _field(row, "answers", where),
        )
        for where, row in rows
    ]


def read_original(path: Path, language: str) -> Asked:
    """The questions out of MKQA's own file, filtered as Contriever's preprocessing does.

    Answers are the aliases and the text of every English answer of a type that can be searched for; a question is kept if the
    last of its English answers is of such a type. The last alone decides: with a question that has several this looks like an
    oversight, but 6,619 is what comes of it.
    """
    asked: Asked = []
    for where, row in json_rows(path):
        english: list[dict[str, Any]] = _field(_field(row, "answers", where), "en", where)
        kept = [answer for answer in english if answer["type"] not in UNANSWERED]
        if english and english[-1]["type"] not in UNANSWERED:
            answers = [
                string
                for answer in kept
                for string in (*answer.get("aliases", ()), answer.get("text"))
                if string
            ]
            question = _field(_field(row, "queries", where), language, where)
            asked.append((str(_field(row, "example_id", where)), question, answers))
    return asked


def _shards(folder: Path) -> list[Path]:
    found = (
        [folder / "corpus.jsonl.gz"]
        if (folder / "corpus.jsonl.gz").exists()
        else sorted(folder.glob("corpus/*.parquet"))
    )
    if not found:
        raise UserError(f"{folder} has neither corpus.jsonl.gz nor corpus/*.parquet.")
    return found


def _field(row: Mapping[str, Any], name: str, where: str) -> Any:
    if row.get(name) is None:
        raise UserError(f"{where}: needs a field {name!r}, has {sorted(row)}.")
    return row[name]
