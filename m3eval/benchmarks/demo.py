"""The built-in benchmark: 36 documents on invented things and 72 questions in 18 languages.

The languages are MIRACL's, and the texts are translations of each other. Documents come in groups
of three on related things (three rivers, three composers, three bridges). The documents of a group
share an attribute with different values, so that only a description decides. Each document is asked
for twice, in two tiers: ``keyword`` in words of the document, ``paraphrase`` in none of them. No
model has read about the things before, because they do not exist. A document has the same id in
every language, so the texts can be used in three forms:

- ``multilingual``: questions and documents in one language, judged by document;
- ``cross_lingual``: questions in any language, documents in English, judged by the English answer
  string, as in MKQA;
- ``long_document``: each of 24 documents stands inside a chain of the 12 others, one of each group,
  for which this form does not ask.

The texts were written and translated by language models. Those in Yoruba and Swahili want a native
reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.errors import UserError

TEXTS = Path(__file__).resolve().parent / "demo_texts"
TIERS = ("keyword", "paraphrase")


@dataclass(frozen=True)
class Demo:
    """The demo in one of its three forms; conf/benchmark/demo*.yaml explain each field."""

    languages: list[str]
    form: Literal["multilingual", "cross_lingual", "long_document"]
    # Of form long_document: how many of the demo's documents make up a chain.
    passages_per_document: int = 1
    # Of form long_document: where the answer stands in its chain; 0 is first, 1 is last.
    depth_of_answer: float = 0.0

    def task(self, language: str) -> Task:
        """Makes one language of the texts that are part of the package.

        Raises:
            UserError: `passages_per_document` is more than the texts allow.
        """
        rows = read_rows(language)
        asked = rows if self.form != "long_document" else _split(rows)[0]
        queries = [Query(_qid(row, tier), row[tier]) for row in asked for tier in TIERS]
        tiers = {tier: [_qid(row, tier) for row in asked] for tier in TIERS}
        if self.form == "cross_lingual":
            answers = {
                _qid(row, tier): [row[f"{tier}_answer"]]
                for row in read_rows("en")
                for tier in TIERS
            }
            corpus = Corpus("en", lambda: _documents("en"))
            return Task(language, corpus, queries, answers=answers, groups=tiers)
        qrels = {_qid(row, tier): {row["docid"]: 1} for row in asked for tier in TIERS}
        if self.form == "long_document":
            chains = self._chains(rows)
            corpus = Corpus(language, lambda: iter(chains))
        else:
            corpus = Corpus(language, lambda: _documents(language))
        return Task(language, corpus, queries, qrels, groups=tiers)

    def _chains(self, rows: list[dict[str, str]]) -> list[Document]:
        """Makes a long document of each row that is asked for.

        The rows around it are the others. They start at another row in every chain, so that no two
        chains begin alike.
        """
        asked, others = _split(rows)
        filler = [_chained(row) for row in others]
        n = self.passages_per_document - 1
        if not 0 <= n <= len(filler):
            raise UserError(
                f"benchmark.source.passages_per_document={n + 1}: the demo has {len(filler)} "
                f"documents to put around an answer, so choose 1 to {len(filler) + 1}."
            )
        chains = []
        for i, row in enumerate(asked):
            chain = [filler[(i + j) % len(filler)] for j in range(n)]
            chain.insert(round(self.depth_of_answer * n), _chained(row))
            chains.append(Document(row["docid"], "", "\n\n".join(chain)))
        return chains


def read_rows(language: str) -> list[dict[str, str]]:
    """The demo's texts in a language, three rows of a group after each other.

    A row has `docid`, `title` and `text`, and for each of `TIERS` a question under the tier's name
    and its answer, `keyword_answer` and `paraphrase_answer`, as it stands in the text.
    """
    content = (TEXTS / f"{language}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in content.split("\n") if line]


def _split(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows that long documents are asked for, and those around them: every third."""
    return [row for i, row in enumerate(rows) if i % 3], rows[::3]


def _qid(row: dict[str, str], tier: str) -> str:
    return f"{tier}-{row['docid']}"


def _documents(language: str) -> Iterator[Document]:
    return (Document(row["docid"], row["title"], row["text"]) for row in read_rows(language))


def _chained(row: dict[str, str]) -> str:
    return f"{row['title']}\n{row['text']}"
