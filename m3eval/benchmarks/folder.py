"""Any corpus of your own, without code: a folder per language in BEIR's layout or in a plain one.

    {root}/{language}/corpus.jsonl     docid (or _id), title, text
                      queries.tsv      qid TAB text              or queries.jsonl
                      qrels.tsv        qid 0 docid grade         or qrels/{split}.tsv (BEIR)
                      answers.jsonl    qid, answers              for judged_by=answers

A folder that itself holds corpus.jsonl is a benchmark of one language, named like the folder.
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
    """A folder of corpora; see conf/benchmark/folder.yaml for each field."""

    root: str
    split: str
    judged_by: Literal["qrels", "answers"]
    corpus: str | None  # folder of a corpus that all languages share; None: each has its own
    merge_equal_queries: bool = (
        False  # of questions with the same text keep the last, with its judgements only
    )

    @property
    def base(self) -> Path:
        """The root as a path."""
        return Path(self.root).expanduser()

    @property
    def languages(self) -> list[str]:
        """The subfolders that hold queries, or the root's own name.

        Raises:
            UserError: there are no queries anywhere.
        """
        if self._queries(self.base):
            return [self.base.resolve().name]
        found = sorted(path.name for path in self.base.glob("*/") if self._queries(path))
        if not found:
            raise UserError(
                f"benchmark.root={self.root} has neither queries.tsv nor queries.jsonl, in it or one folder below: "
                "see conf/benchmark/folder.yaml for the layout."
            )
        return found

    def task(self, language: str) -> Task:
        """Reads the queries and judgements of one language.

        Raises:
            UserError: a file is missing or malformed.
        """
        folder = self.base if self._queries(self.base) else self.base / language
        queries = self._queries(folder)
        if queries is None:
            raise UserError(
                f"{folder} has no queries.tsv or queries.jsonl; languages here: {self.languages}."
            )
        documents = (self.base / self.corpus if self.corpus else folder) / "corpus.jsonl"
        if not documents.exists():
            raise UserError(
                f"{documents} does not exist. For a corpus that all languages share set benchmark.corpus=."
            )
        qrels = next(
            (
                path
                for path in (folder / "qrels.tsv", folder / "qrels" / f"{self.split}.tsv")
                if path.exists()
            ),
            None,
        )
        if self.judged_by == "qrels" and qrels is None:
            raise UserError(f"{folder} has neither qrels.tsv nor qrels/{self.split}.tsv.")
        task = Task(
            language,
            Corpus(self.corpus or language, lambda: read_documents(documents)),
            read_queries(queries),
            qrels=read_qrels(qrels) if self.judged_by == "qrels" and qrels else None,
            answers=read_answers(folder / "answers.jsonl") if self.judged_by == "answers" else None,
        )
        return merged(task) if self.merge_equal_queries else task

    @staticmethod
    def _queries(folder: Path) -> Path | None:
        names = (folder / "queries.tsv", folder / "queries.jsonl")
        return next((path for path in names if path.exists()), None)


def merged(task: Task) -> Task:
    """The task with one query of each text: the last, judged as it was; what only the others were judged by is gone."""
    last = {query.text: query.qid for query in task.queries}
    gone = {query.qid for query in task.queries} - set(last.values())

    def kept(judgements: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return judgements and {qid: value for qid, value in judgements.items() if qid not in gone}

    queries = [query for query in task.queries if query.qid not in gone]
    return replace(task, queries=queries, qrels=kept(task.qrels), answers=kept(task.answers))
