"""The built-in benchmark: 36 passages on invented things, 24 questions, parallel in MIRACL's 18 languages.

Passages come in groups of three near neighbours (three rivers, three composers, three bridges ...), so a wrong neighbour is
a plausible answer, and since the things are invented no model can know them beforehand. Ids are the same in every language,
which makes it three benchmarks in one:

- ``multilingual``: ask and search in one language, judged by document;
- ``cross_lingual``: ask in any language, search the English passages, judged by the English answer string (as MKQA does);
- ``long_document``: each answering passage lies inside a chain of passages that answer nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.errors import UserError


@dataclass(frozen=True)
class Demo:
    """The demo in one of its three forms; see conf/benchmark/demo*.yaml for each field."""

    languages: list[str]
    form: Literal["multilingual", "cross_lingual", "long_document"]
    passages_per_document: int = 1  # long_document: how many passages are chained
    depth_of_answer: float = (
        0.0  # long_document: where the answering passage stands, 0 first, 1 last
    )

    def task(self, language: str) -> Task:
        """Builds one language from the texts in the package.

        Raises:
            UserError: a chain is longer than the passages that answer nothing allow.
        """
        asked = [row for row in _rows(language) if "question" in row]
        queries = [Query(f"q-{row['docid']}", row["question"]) for row in asked]
        if self.form == "cross_lingual":
            answers = {
                f"q-{row['docid']}": [row["answer"]] for row in _rows("en") if "question" in row
            }
            return Task(language, Corpus("en", lambda: _documents("en")), queries, answers=answers)
        qrels = {f"q-{row['docid']}": {row["docid"]: 1} for row in asked}
        if self.form == "long_document":
            chains = self._chains(language)
            return Task(language, Corpus(language, lambda: iter(chains)), queries, qrels)
        return Task(language, Corpus(language, lambda: _documents(language)), queries, qrels)

    def _chains(self, language: str) -> list[Document]:
        """A document for each answering passage, which stands at `depth_of_answer` among unasked ones.

        The filler starts at another passage in each document, so no two documents begin alike.
        """
        rows = _rows(language)
        filler = [f"{row['title']}\n{row['text']}" for row in rows if "question" not in row]
        n = self.passages_per_document - 1
        if not 0 <= n <= len(filler):
            raise UserError(
                f"benchmark.passages_per_document={n + 1}: the demo has {len(filler)} passages to chain around an answer, "
                f"so choose 1 to {len(filler) + 1}."
            )
        chains = []
        for i, row in enumerate(row for row in rows if "question" in row):
            chain = [filler[(i + j) % len(filler)] for j in range(n)]
            chain.insert(round(self.depth_of_answer * n), f"{row['title']}\n{row['text']}")
            chains.append(Document(row["docid"], "", "\n\n".join(chain)))
        return chains


def _rows(language: str) -> list[dict[str, str]]:
    text = (files("m3eval.benchmarks") / "demo_texts" / f"{language}.jsonl").read_text(
        encoding="utf-8"
    )
    return [json.loads(line) for line in text.split("\n") if line]


def _documents(language: str) -> Iterator[Document]:
    return (Document(row["docid"], row["title"], row["text"]) for row in _rows(language))
