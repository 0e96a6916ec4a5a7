"""Your own corpora, without code: a folder per language, in BEIR's layout or in a plain one.

    {root}/{language}/corpus.jsonl     docid (or _id), title, text
                      queries.tsv      qid TAB text              or queries.jsonl
                      qrels.tsv        qid 0 docid grade         or qrels/{split}.tsv (BEIR)
                      answers.jsonl    qid, answers              for judged_by=answers

Each may be compressed by gzip and end in .gz. Where two files could be meant, none is read. If
{root} itself holds the queries, it is a benchmark of one language, which has the folder's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from m3eval.benchmarks.formats import read_answers, read_documents, read_queries
from m3eval.benchmarks.qrels import read_qrels
from m3eval.benchmarks.task import Corpus, Task
from m3eval.errors import UserError

QUERIES = ("queries.tsv", "queries.jsonl")


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
        if self._is_one_language:
            return [self.base.resolve().name]
        names = sorted(path.name for path in self.base.glob("*/") if _present(path, QUERIES))
        if not names:
            raise UserError(
                f"benchmark.root={self.root}: there is no queries.tsv or queries.jsonl in this "
                "folder or in a folder below it. conf/benchmark/folder.yaml shows the layout."
            )
        return names

    def task(self, language: str) -> Task:
        """Reads the queries and judgements of one language.

        Raises:
            UserError: a file is missing, malformed, or two could be meant.
        """
        folder = self.base if self._is_one_language else self.base / language
        known = f"Languages in {self.base}: {', '.join(self.languages)}."
        queries = _only(folder, QUERIES, known)
        documents = _only(
            self.base / self.corpus if self.corpus else folder,
            ["corpus.jsonl"],
            "If all languages share a corpus, set benchmark.corpus= to the name of its folder.",
        )
        by_qrels = "Add it, or set benchmark.judged_by=qrels."
        task = Task(
            language,
            Corpus(self.corpus or language, lambda: read_documents(documents), files=(documents,)),
            read_queries(queries),
            qrels=read_qrels(self._qrels(folder)) if self.judged_by == "qrels" else None,
            answers=read_answers(_only(folder, ["answers.jsonl"], by_qrels))
            if self.judged_by == "answers"
            else None,
            matching="characters",
        )
        return without_repeated_queries(task) if self.merge_equal_queries else task

    @property
    def _is_one_language(self) -> bool:
        return bool(_present(self.base, QUERIES))

    def _qrels(self, folder: Path) -> Path:
        """The judgements of the split. Beside those of splits, qrels.tsv could be of any."""
        splits = [f"qrels/{path.name}" for path in sorted((folder / "qrels").glob("*.tsv*"))]
        if splits and (plain := _present(folder, ["qrels.tsv"])):
            raise UserError(
                f"{folder} has {plain[0].name} and {', '.join(splits)}: it is not clear which is "
                f"benchmark.split={self.split}. Keep qrels.tsv or the folder qrels, not both."
            )
        remedy = "Add one, choose another benchmark.split, or set benchmark.judged_by=answers."
        if splits:
            remedy = f"It has {', '.join(splits)}. {remedy}"
        return _only(folder, ["qrels.tsv", f"qrels/{self.split}.tsv"], remedy)


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


def _present(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of a folder that have one of the names, plain or compressed."""
    places = [folder / f"{name}{ending}" for name in names for ending in ("", ".gz")]
    return [path for path in places if path.exists()]


def _only(folder: Path, names: Sequence[str], remedy: str) -> Path:
    """The one file of a folder that has one of the names, plain or compressed.

    Raises:
        UserError: there is none, and the remedy says more; or there are several.
    """
    present = _present(folder, names)
    if len(present) == 1:
        return present[0]
    if present:
        raise UserError(
            f"{folder} has {' and '.join(path.name for path in present)}: either could be meant, "
            "so keep one of them."
        )
    raise UserError(f"{folder} has no {' or '.join(names)} (or .gz of it). {remedy}")
