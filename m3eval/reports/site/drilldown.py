"""The drill-down's data: an index of all queries of a language, and files of queries and documents that pages load when asked.

    {language}.js          systems, and of every judged query its text, its scores and the file that has its lists
    {language}-q000.js     100 queries: lists, component scores, judgements, matched terms and token pairs
    {language}-d000.js     100 documents, each text once

Queries on which systems differ most come first, until a language's share of the bytes is spent; the others have no lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from m3eval.reports.site.pages import language_tag, put
from m3eval.reports.site.results import safe

AT_ONCE = 100  # queries, or documents, of a file
CHARACTERS = 1200  # of a document that are shown
LEAST = 1000  # bytes that a query takes at least
RELEVANT = 10  # documents whose ranks are given
Texts = Mapping[str, str]


class Explainer(Protocol):
    """Reasons by (qid, docid): objects with `terms` and `pairs`, see m3eval.drilldown.Evidence."""

    def explain(self, asked: Mapping[str, list[str]], queries: Texts, texts: Texts) -> Mapping[tuple[str, str], Any]:
        """Why documents score what they score."""


class Writer:
    """Writes one language."""

    def __init__(self, folder: Path, language: Any, explainers: Mapping[str, Explainer], limit: int) -> None:
        """A language's files.

        Args:
            folder: data/{slug} of the site.
            language: an m3eval.drilldown.Language.
            explainers: by encoder.
            limit: bytes to keep within.
        """
        self.folder, self.language, self.explainers, self.limit = folder, language, explainers, limit
        self.name = safe(language.task.language)
        self.key = f"{folder.name}/{self.name}"
        self.numbers: dict[str, int] = {}  # docid -> number
        self.waiting: list[list[Any]] = []  # documents without a file yet
        self.files = 0
        self.bytes = 0

    def write(self) -> dict[str, Any]:
        """Writes everything; returns what the page's list of languages says about it."""
        language = self.language
        file_of: dict[str, int] = {}
        index = self._index(file_of)
        spent = self._put("", index)  # its true size: numbers of files change it little
        # Texts and reasons of all that could fit, at once: each takes a pass over the corpus.
        shown = {qid: language.shown(qid) for qid in language.order[: max(AT_ONCE, self.limit // LEAST)]}
        texts = language.texts({docid for docids in shown.values() for docid in docids})
        reasons = {name: one.explain(shown, language.queries, texts) for name, one in self.explainers.items()}
        largest = 0  # what one batch added; the documents that still wait for a file take less than another
        for number, some in enumerate(_batches([*shown])):
            if number and spent + self.bytes + 2 * largest > self.limit:
                break
            before = self.bytes
            for docid in (docid for qid in some for docid in shown[qid]):
                self._document(docid, texts[docid])
            self.bytes += self._put(f"-q{number:03}", {qid: self._query(qid, shown[qid], reasons) for qid in some})
            file_of |= dict.fromkeys(some, number)
            largest = max(largest, self.bytes - before)
        self._documents(whole=False)
        self.bytes += self._put("", self._index(file_of))
        return {
            "name": language.task.language, "key": self.key, "queries": len(language.queries), "with_lists": len(file_of),
            "bytes": self.bytes,
        }  # fmt: skip

    def _put(self, suffix: str, value: Any) -> int:
        return put(self.folder / f"{self.name}{suffix}.js", f"{self.key}{suffix}", value)

    def _index(self, file_of: Mapping[str, int]) -> dict[str, Any]:
        language = self.language
        return {
            "language": language_tag(language.task.language),
            "corpus_language": language_tag(language.task.corpus.language or language.task.corpus.name),
            "metric": language.metric,
            "depth": language.depth,
            "judged_by": "qrels" if language.task.qrels is not None else "answers",
            "systems": [self._system(name) for name in language.systems],
            "documents_per_file": AT_ONCE,
            "queries": [
                [qid, text, [round(100 * language.scores[name][language.metric][qid], 2) for name in language.systems],
                 file_of.get(qid, -1)]
                for qid, text in language.queries.items()
            ],
        }  # fmt: skip

    def _system(self, name: str) -> dict[str, Any]:
        """A system: its name, what its scores are made of, and whose reasons are its own."""
        found = self.language.found[name].values()
        components = next((list(one.components) for one in found if one.components), [])
        return {"name": name, "components": components, "encoder": name.rpartition("/")[0] or next(iter(self.explainers), "")}

    def _query(self, qid: str, docids: list[str], reasons: Mapping[str, Any]) -> dict[str, Any]:
        language = self.language
        grades = (language.task.qrels or {}).get(qid, {})
        relevant = [docid for docid, grade in grades.items() if grade > 0]
        lists = []
        for name in language.systems:
            found = language.found[name].get(qid)
            lists.append([
                [self.numbers[docid], _short(found.scores[i]), *(_short(values[i]) for values in found.components.values())]
                for i, docid in enumerate(found.docids)
            ] if found else [])  # fmt: skip
        return {
            "lists": lists,
            "grades": {self.numbers[docid]: grades[docid] for docid in docids if docid in grades},
            "relevant": [
                [docid, grades[docid], [self._rank(name, qid, docid) for name in language.systems]]
                for docid in relevant[:RELEVANT]
            ],
            "more_relevant": max(0, len(relevant) - RELEVANT),
            "answers": list((language.task.answers or {}).get(qid, []))[:RELEVANT],
            "why": {
                name: {self.numbers[docid]: _reasons(found[qid, docid]) for docid in docids} for name, found in reasons.items()
            },
        }

    def _rank(self, system: str, qid: str, docid: str) -> int | None:
        found = self.language.found[system].get(qid)
        return found.ranks.get(docid) if found else None

    def _document(self, docid: str, text: str) -> None:
        if docid not in self.numbers:
            self.numbers[docid] = len(self.numbers)
            self.waiting.append([docid, text[:CHARACTERS], max(0, len(text) - CHARACTERS)])
            self._documents(whole=True)

    def _documents(self, whole: bool) -> None:
        """Writes waiting documents: full files, or at the end what is left."""
        while len(self.waiting) >= AT_ONCE or (self.waiting and not whole):
            self.bytes += self._put(f"-d{self.files:03}", self.waiting[:AT_ONCE])
            del self.waiting[:AT_ONCE]
            self.files += 1


def _batches(qids: list[str]) -> list[list[str]]:
    return [qids[start : start + AT_ONCE] for start in range(0, len(qids), AT_ONCE)]


def _reasons(evidence: Any) -> list[Any]:
    """Terms as [token, weight in query, weight in document, from, to]; pairs as [from, to, from, to, inner product]."""
    return [
        [[word, _short(ours), _short(theirs), *(span or ())] for word, ours, theirs, span in evidence.terms],
        [[*(asked or (-1, -1)), *(given or (-1, -1)), _short(product)] for asked, given, product in evidence.pairs],
    ]


def _short(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
