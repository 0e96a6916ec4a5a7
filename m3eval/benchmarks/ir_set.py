"""Any data set of `ir_datasets` that has documents, queries and judgements, by its name.

The library downloads what it lacks to its own folder (IR_DATASETS_HOME), and says whose terms must
be accepted first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from m3eval.benchmarks.fields import identifier, optional_text, text
from m3eval.benchmarks.qrels import JudgedPair, collected, grade_of
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.errors import UserError
from m3eval.kinds import Name

NEEDS = "benchmark=ir_datasets needs a package: pip install 'm3eval[ir-datasets]'."
PARTS = ("docs", "queries", "qrels")


@dataclass(frozen=True)
class IrSet:
    """A data set of ir_datasets; conf/benchmark/ir_datasets.yaml explains each field."""

    dataset: str
    language: Name | None

    @cached_property
    def languages(self) -> list[str]:
        """The language of its queries: what the data set says, or what is asked for.

        Raises:
            UserError: there is no such data set, or it says no language, or another.
        """
        says = self._says("queries")
        if says is None and self.language is None:
            raise UserError(
                f"{self.dataset} does not say in which language its queries are: say it, as in "
                "benchmark.language=en."
            )
        if says and self.language not in (None, says):
            raise UserError(
                f"benchmark.language={self.language}: {self.dataset} says that its queries are "
                f"{says}: leave it out."
            )
        return [says or str(self.language)]

    def task(self, language: str) -> Task:
        """Reads queries and judgements. Documents are streamed from the library's files.

        Raises:
            UserError: what the library cannot get or read; values that are no ids, texts or grades.
        """
        with self._reading():
            return Task(
                language,
                Corpus(language, self._documents, language=self._says("docs") or self.language),
                list(self._queries()),
                collected(self._judgements, self.dataset),
            )

    def _documents(self) -> Iterator[Document]:
        with self._reading():
            for row in self._rows("docs"):
                where = f"{self.dataset}, document {row.doc_id!r}"
                values = _values(row)
                yield Document(
                    identifier(values, where, "doc_id"),
                    # What a document without `text` calls its default text has its title, too.
                    optional_text(values, where, "title", True) if hasattr(row, "text") else "",
                    text(values, where, "text", published=True),
                )

    def _queries(self) -> Iterator[Query]:
        for row in self._rows("queries"):
            where = f"{self.dataset}, query {row.query_id!r}"
            values = _values(row)
            qid = identifier(values, where, "query_id")
            yield Query(qid, text(values, where, "text", published=True))

    def _judgements(self) -> Iterator[JudgedPair]:
        for number, row in enumerate(self._rows("qrels"), 1):
            where = f"{self.dataset}, judgement {number}"
            qid, docid = (identifier(row._asdict(), where, name) for name in ("query_id", "doc_id"))
            yield JudgedPair(where, qid, docid, grade_of(row.relevance, where))

    def _rows(self, part: str) -> Iterator[Any]:
        return getattr(self._library, f"{part}_iter")()

    def _says(self, part: str) -> str | None:
        return getattr(self._library, f"{part}_lang")()

    @cached_property
    def _library(self) -> Any:
        """The library's data set. Raises UserError where it has none that can be judged by."""
        try:
            import ir_datasets
        except ModuleNotFoundError:
            raise UserError(NEEDS) from None
        try:
            found = ir_datasets.load(self.dataset)
        except KeyError:
            raise UserError(
                f"benchmark.dataset={self.dataset}: ir_datasets has no such data set; "
                "https://ir-datasets.com lists them."
            ) from None
        if lacking := [part for part in PARTS if not getattr(found, f"has_{part}")()]:
            raise UserError(
                f"benchmark.dataset={self.dataset} has no {' and no '.join(lacking)}: name one of "
                f"its subsets, as in {self.dataset}/test."
            )
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What the library cannot get, or cannot read, is raised as a UserError."""
        try:
            yield
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the system's
                raise
            raise UserError(
                f"ir_datasets cannot read {self.dataset} ({type(error).__name__}: {error}): see "
                "what it says above, and whether it can download."
            ) from error


def _values(row: Any) -> dict[str, Any]:
    """The fields of a document or query, with the text that the library takes for it."""
    values = row._asdict()
    return values if "text" in values else values | {"text": row.default_text()}
