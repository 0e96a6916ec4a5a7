"""MKQA: questions in 25 languages, answered from English Wikipedia.

A document answers a question if it contains one of the question's English answer strings. Tables 2
and 13 of the M3 paper report it.

- The corpus is the hub's ``BeIR/nq`` (_id, title, text), one for all languages. Older revisions
  have it as ``corpus.jsonl.gz``, newer ones as ``corpus/corpus-*.parquet``; both are read.
- The questions are those that the paper's scripts read: ``MKQA_test-data.zip`` of
  ``Shitao/bge-m3-data`` has a ``{language}.jsonl`` (id, question, answers) for each language.
- Instead of the archive, MKQA's own ``mkqa.jsonl.gz`` (Longpre et al., TACL 2021) can be read.
  The filter that gave the archive is then applied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from m3eval import hub
from m3eval.benchmarks.fields import (
    identifier,
    is_nothing,
    nested,
    objects,
    optional_text,
    strings,
    text,
)
from m3eval.benchmarks.formats import read_documents, unread_documents
from m3eval.benchmarks.landing import landing
from m3eval.benchmarks.task import Corpus, Query, Task
from m3eval.errors import UserError
from m3eval.hub import Files
from m3eval.textfiles import json_rows, zipped_json_rows

CORPUS, QUESTIONS = "BeIR/nq", "Shitao/bge-m3-data"  # repositories on the hub
ARCHIVE = "MKQA_test-data.zip"
# Types of answer that no document can be searched for.
UNANSWERED = {"unanswerable", "binary", "long_answer"}

Question = tuple[str, str, list[str]]  # qid, question, English answers


@dataclass(frozen=True)
class Mkqa:
    """The benchmark's files; conf/benchmark/mkqa.yaml explains each field."""

    languages: list[str]
    root: str | None
    original: str | None
    corpus_revision: str | None
    questions_revision: str | None
    mkqa_denominator: Literal["all", "run"]
    published_documents: int | None
    published_queries: int | None

    def files(self, language: str) -> list[Files]:
        """The corpus and, unless MKQA's own file is at hand, the archive of questions."""
        corpus = Files(CORPUS, self.corpus_revision, ["corpus*"])
        if self.original:
            return [corpus]
        return [corpus, Files(QUESTIONS, self.questions_revision, [ARCHIVE])]

    def task(self, language: str) -> Task:
        """Gets the files and reads the questions of one language.

        Raises:
            UserError: files are missing, damaged or out of reach, or do not have the language.
        """
        folders = {files.repository: hub.fetch(files, self.root) for files in self.files(language)}
        questions = (
            read_original(Path(self.original).expanduser(), language)
            if self.original
            else read_archive(folders[QUESTIONS] / ARCHIVE, language)
        )
        shards = _shards(folders[CORPUS])
        return Task(
            language,
            Corpus(
                "nq",
                lambda: read_documents(*shards, published=True),
                self.published_documents,
                language="en",
                files=tuple(shards),
                landing=landing("mkqa", "documents", "nq"),
                unread=lambda: unread_documents(*shards, published=True),
            ),
            [Query(qid, question) for qid, question, _ in questions],
            answers={qid: answers for qid, _, answers in questions},
            published_queries=self.published_queries,
            denominator=self.mkqa_denominator,
            commits={repository: hub.commit(folder) for repository, folder in folders.items()},
        )


def read_archive(path: Path, language: str) -> list[Question]:
    """The questions of the paper's archive, which are filtered already."""
    return [
        (
            identifier(row, where, "id"),
            text(row, where, "question", published=True),
            strings(row, where, "answers", published=True),
        )
        for where, row in zipped_json_rows(path, f"{language}.jsonl", published=True)
    ]


def read_original(path: Path, language: str) -> list[Question]:
    """The questions of MKQA's own file, filtered as Contriever's preprocessing filters them.

    A question is kept if the last of its English answers is of a type that documents can be
    searched for. It looks like an oversight that only the last one decides, but this rule gives
    the 6,619 questions of the paper. The answers are the aliases and the text of every English
    answer of such a type.
    """
    questions: list[Question] = []
    for where, row in json_rows(path):
        english = objects(nested(row, where, "answers"), where, "en")
        kinds = [text(answer, where, "type") for answer in english]
        if not kinds or kinds[-1] in UNANSWERED:
            continue
        answers = [
            string
            for answer, kind in zip(english, kinds, strict=True)
            if kind not in UNANSWERED
            for string in (*_aliases(answer, where), optional_text(answer, where, "text", True))
            if string
        ]
        question = text(nested(row, where, "queries"), where, language, published=True)
        questions.append((identifier(row, where, "example_id"), question, answers))
    return questions


def _aliases(answer: dict[str, Any], where: str) -> list[str]:
    nothing = is_nothing(answer.get("aliases"))
    return [] if nothing else strings(answer, where, "aliases", published=True)


def _shards(folder: Path) -> list[Path]:
    if (folder / "corpus.jsonl.gz").exists():
        return [folder / "corpus.jsonl.gz"]
    shards = sorted(folder.glob("corpus/*.parquet"))
    if not shards:
        raise UserError(
            f"{folder} has neither corpus.jsonl.gz nor corpus/*.parquet: fetch {CORPUS} again."
        )
    return shards
