"""Your own corpora, without code: a folder per language, in BEIR's layout or in a plain one.

    {root}/{language}/corpus.jsonl     docid (or _id), title, text
                      queries.tsv      qid TAB text              or queries.jsonl
                      qrels.tsv        qid 0 docid grade         or qrels/{split}.tsv (BEIR)
                      answers.jsonl    qid, answers              for judged_by=answers

Each may also be JSON Lines, CSV, TSV or parquet (corpus.parquet, queries.csv); texts may be packed
and end in .gz or .zst. A folder of such files (corpus/part-1.parquet) counts as one. Where two
files could be meant, none is read. If {root} itself holds the queries, it is a benchmark of one
language, which has the folder's name or is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from m3eval.benchmarks.formats import (
    ENDINGS,
    ending,
    read_answers,
    read_documents,
    read_queries,
    unread_documents,
)
from m3eval.benchmarks.languages import is_language
from m3eval.benchmarks.qrels import read_qrels
from m3eval.benchmarks.task import Corpus, Task
from m3eval.errors import UserError
from m3eval.kinds import Name


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
    # Of a root that holds the queries itself. None: the folder's name says it.
    language: Name | None = None

    @property
    def base(self) -> Path:
        """The root as a path."""
        return Path(self.root).expanduser()

    @property
    def languages(self) -> list[str]:
        """The names of the subfolders that hold queries, or the one language of the root.

        Raises:
            UserError: there are no queries in any of them; or no name says the one language; or one
                is given although there are subfolders.
        """
        name = self.base.resolve().name
        if self._is_one_language:
            if self.language is None and not is_language(name):
                raise UserError(
                    f"benchmark.root={self.root} holds the queries of one language, and its name "
                    f"{name!r} is none: say which, as in benchmark.language=en."
                )
            return [self.language or name]
        names = sorted(path.name for path in self.base.glob("*/") if _present(path, "queries"))
        if not names:
            raise UserError(
                f"benchmark.root={self.root}: there is no queries.tsv or queries.jsonl in this "
                "folder or in a folder below it. conf/benchmark/folder.yaml shows the layout."
            )
        if self.language is not None:
            raise UserError(
                f"benchmark.language={self.language} is for a folder that holds queries itself; "
                f"{self.base} has a folder for each language ({', '.join(names)}): choose with "
                "languages= among them, and leave benchmark.language= out."
            )
        return names

    def task(self, language: str) -> Task:
        """Reads the queries and judgements of one language.

        Raises:
            UserError: a file is missing, malformed, or two could be meant.
        """
        folder = self.base if self._is_one_language else self.base / language
        known = f"Languages in {self.base}: {', '.join(self.languages)}."
        queries = _only(folder, "queries", known)
        documents = _only(
            self.base / self.corpus if self.corpus else folder,
            "corpus",
            "If all languages share a corpus, set benchmark.corpus= to the name of its folder.",
        )
        by_qrels = "Add it, or set benchmark.judged_by=qrels."
        task = Task(
            language,
            Corpus(
                self.corpus or language,
                lambda: read_documents(*documents),
                files=documents,
                unread=lambda: unread_documents(*documents),
            ),
            read_queries(*queries),
            qrels=read_qrels(*self._qrels(folder)) if self.judged_by == "qrels" else None,
            answers=read_answers(*_only(folder, "answers", by_qrels))
            if self.judged_by == "answers"
            else None,
            matching="characters",
        )
        return without_repeated_queries(task) if self.merge_equal_queries else task

    @property
    def _is_one_language(self) -> bool:
        return bool(_present(self.base, "queries"))

    def _qrels(self, folder: Path) -> tuple[Path, ...]:
        """The judgements of the split. Beside those of splits, qrels.tsv could be of any."""
        below = folder / "qrels"
        splits = [f"qrels/{path.name}" for path in sorted(below.glob("*")) if ending(path)]
        plain = [path for path in _present(folder, "qrels") if path != below]
        if splits and plain:
            raise UserError(
                f"{folder} has {plain[0].name} and {', '.join(splits)}: it is not clear which is "
                f"benchmark.split={self.split}. Keep qrels.tsv or the folder qrels, not both."
            )
        remedy = "Add one, choose another benchmark.split, or set benchmark.judged_by=answers."
        if splits:
            remedy = f"It has {', '.join(splits)}. {remedy}"
        if not plain and not _present(below, self.split):
            raise UserError(
                f"{folder} has no qrels.tsv or qrels/{self.split}.tsv (or another format, or .gz "
                f"of it). {remedy}"
            )
        return _only(folder, "qrels", remedy) if plain else _only(below, self.split, remedy)


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


USUAL = {"corpus": "corpus.jsonl", "queries": "queries.tsv or queries.jsonl"}


def _present(folder: Path, name: str) -> list[Path]:
    """The files of a folder that have a name and any ending, and the folder of that name."""
    files = [path for each in ENDINGS if (path := folder / f"{name}{each}").exists()]
    parts = folder / name
    return [*files, parts] if any(ending(path) for path in parts.glob("*")) else files


def _only(folder: Path, name: str, remedy: str) -> tuple[Path, ...]:
    """The one file of a folder that has a name, or the files of the one folder, in order.

    Raises:
        UserError: there is none, and the remedy says more; or there are several.
    """
    present = _present(folder, name)
    if len(present) == 1:
        (path,) = present
        parts = sorted(part for part in path.glob("*") if ending(part)) if path.is_dir() else ()
        return tuple(parts) or (path,)
    if present:
        raise UserError(
            f"{folder} has {' and '.join(path.name for path in present)}: either could be meant, "
            "so keep one of them."
        )
    usual = USUAL.get(name, f"{name}.jsonl")
    raise UserError(f"{folder} has no {usual} (or another format, or .gz of it). {remedy}")
