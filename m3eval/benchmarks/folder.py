"""Your own corpora, without code: a folder per language, in BEIR's layout or in a plain one.

    {root}/{language}/corpus.jsonl     docid (or _id), title, text
                      queries.tsv      qid TAB text              or queries.jsonl
                      qrels.tsv        qid 0 docid grade         or qrels/{split}.tsv (BEIR)
                      answers.jsonl    qid, answers              for judged_by=answers

If {root} itself holds the queries, it is a benchmark of one language, which has the folder's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from m3eval.benchmarks.formats import read_answers, read_documents, read_qrels, read_queries
from m3eval.benchmarks.task import Corpus, Task
from m3eval.errors import UserError


@dataclass(frozen=True)
class Folder:
    """A folder of corpora; conf/benchmark/folder.yaml explains each field."""

    root: str
    split: str
    judged_by: Literal["qrels", "answers"]
    # A folder below the root with the corpus of all languages. None: each language has its own.
    corpus: str | None
    # Of queries with the same text, keep only the last and its own judgements.
    merge_equal_queries: bool = False

    @property
    def base(self) -> Path:
        """The root as a path."""
        return Path(self.root).expanduser()

    @property
    def languages(self) -> list[str]:
        """The names of the subfolders that hold queries, or the root's own name.

        Raises:
            UserError: there are no queries in any of them.
        """
        if _queries(self.base):
            return [self.base.resolve().name]
        names = sorted(path.name for path in self.base.glob("*/") if _queries(path))
        if not names:
            raise UserError(
                f"benchmark.root={self.root}: there is no queries.tsv or queries.jsonl in this "
                "folder or in a folder below it. conf/benchmark/folder.yaml shows the layout."
            )
        return names

    def task(self, language: str) -> Task:
        """Reads the queries and judgements of one language.

        Raises:
            UserError: a file is missing or malformed.
        """
        folder = self.base if _queries(self.base) else self.base / language
        queries = _queries(folder)
        if queries is None:
            raise UserError(
                f"{folder} has no queries.tsv or queries.jsonl. Languages in {self.base}: "
                f"{', '.join(self.languages)}."
            )
        documents = (self.base / self.corpus if self.corpus else folder) / "corpus.jsonl"
        if not documents.exists():
            raise UserError(
                f"{documents} does not exist. If all languages share a corpus, set "
                "benchmark.corpus= to the name of its folder."
            )
        task = Task(
            language,
            Corpus(self.corpus or language, lambda: read_documents(documents)),
            read_queries(queries),
            qrels=read_qrels(self._qrels(folder)) if self.judged_by == "qrels" else None,
            answers=read_answers(folder / "answers.jsonl") if self.judged_by == "answers" else None,
        )
        return without_repeated_queries(task) if self.merge_equal_queries else task

    def _qrels(self, folder: Path) -> Path:
        path = _first_file(folder / "qrels.tsv", folder / "qrels" / f"{self.split}.tsv")
        if path is None:
            raise UserError(
                f"{folder} has neither qrels.tsv nor qrels/{self.split}.tsv: add one, choose "
                "another benchmark.split, or set benchmark.judged_by=answers."
            )
        return path


def without_repeated_queries(task: Task) -> Task:
    """Keeps one query of every text: the last, with its own judgements.

    Judgements of the queries that are left out are dropped, as MTEB does.
    """
    last = {query.text: query.qid for query in task.queries}
    repeated = {query.qid for query in task.queries} - set(last.values())

    def judgements_left(judgements: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return judgements and {
            qid: value for qid, value in judgements.items() if qid not in repeated
        }

    return replace(
        task,
        queries=[query for query in task.queries if query.qid not in repeated],
        qrels=judgements_left(task.qrels),
        answers=judgements_left(task.answers),
    )


def _queries(folder: Path) -> Path | None:
    return _first_file(folder / "queries.tsv", folder / "queries.jsonl")


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)
