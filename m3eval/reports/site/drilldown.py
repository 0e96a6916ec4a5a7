"""The drill-down's data: an index of all queries of a language, and files of queries and documents that pages load when asked.

    {language}.js          systems, and of every judged query its text, its scores and the file that has its lists
    {language}-q000.js     100 queries: lists, component scores, judgements, matched terms and token pairs
    {language}-d000.js     100 documents, each text once

Files are packed (columns.py). Where a language's share of the bytes is not enough, its texts are cut, all at the same length,
down to SHORTEST; if that does not do, only the queries on which systems differ most have lists. Pages say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from m3eval.reports.site.boards import safe
from m3eval.reports.site.columns import packed
from m3eval.reports.site.pages import language_tag, put

AT_ONCE = 100  # queries, or documents, of a file
LONGEST, SHORTEST = 4000, 200  # characters of a document that are shown
LEAST = 500  # bytes that a query takes at least
RELEVANT = 10  # documents whose ranks are given
Texts = Mapping[str, str]


class Explains(Protocol):
    """Reasons by (qid, docid): objects with `terms` and `pairs`, see m3eval.commands.reasons.Evidence."""

    def explain(
        self, asked: Mapping[str, list[str]], queries: Texts, texts: Texts
    ) -> Mapping[tuple[str, str], Any]:
        """Why documents score what they score."""


class Fitted(NamedTuple):
    """What there is room for."""

    queries: list[str]  # files
    documents: list[str]  # files
    characters: int  # at which texts are cut
    cut: int  # texts that are


class Writer:
    """Writes one language."""

    def __init__(
        self, folder: Path, language: Any, explainers: Mapping[str, Explains], limit: int
    ) -> None:
        """A language's files.

        Args:
            folder: data/{slug} of the site.
            language: an m3eval.commands.drilldown.LanguageView.
            explainers: by encoder.
            limit: bytes to keep within.
        """
        self.folder, self.language, self.explainers, self.limit = (
            folder,
            language,
            explainers,
            limit,
        )
        self.name = safe(language.task.language)
        self.key = f"{folder.name}/{self.name}"

    def write(self) -> dict[str, Any]:
        """Writes everything; returns what the page's list of languages says about it."""
        language = self.language
        # Texts and reasons of all that could fit, at once: each takes a pass over the corpus.
        shown = {
            qid: language.shown(qid) for qid in language.order[: max(AT_ONCE, self.limit // LEAST)]
        }
        texts = language.texts({docid for docids in shown.values() for docid in docids})
        reasons = {
            name: one.explain(shown, language.queries, texts)
            for name, one in self.explainers.items()
        }
        numbers: dict[str, int] = {}
        queries, needed = [], []
        for some in _batches(list(shown)):
            for docid in (docid for qid in some for docid in shown[qid]):
                numbers.setdefault(docid, len(numbers))
            queries.append(packed([self._query(qid, shown[qid], numbers, reasons) for qid in some]))
            needed.append(len(numbers))
        index = packed([self._index({qid: i // AT_ONCE for i, qid in enumerate(shown)})])
        around = len(f'm3eval.put("{self.key}-q0000","");\n')
        room = self.limit - len(index) - around
        fitted = fit(queries, [(docid, texts[docid]) for docid in numbers], needed, room, around)
        kept = list(shown)[: AT_ONCE * len(fitted.queries)]
        size = self._put(
            "", packed([self._index({qid: i // AT_ONCE for i, qid in enumerate(kept)})])
        )
        for kind, files in (("q", fitted.queries), ("d", fitted.documents)):
            size += sum(self._put(f"-{kind}{i:03}", file) for i, file in enumerate(files))
        return {
            "name": language.task.language, "key": self.key, "queries": len(language.queries), "with_lists": len(kept),
            "characters": fitted.characters, "cut": fitted.cut, "bytes": size,
        }  # fmt: skip

    def _put(self, suffix: str, value: str) -> int:
        return put(self.folder / f"{self.name}{suffix}.js", f"{self.key}{suffix}", value)

    def _index(self, file_of: Mapping[str, int]) -> dict[str, Any]:
        language = self.language
        return {
            "language": language_tag(language.task.language),
            "corpus_language": language_tag(
                language.task.corpus.language or language.task.corpus.name
            ),
            "metric": language.metric,
            "judged_by": "qrels" if language.task.qrels is not None else "answers",
            "systems": [self._system(name) for name in language.systems],
            "documents_per_file": AT_ONCE,
            "queries": [
                {
                    "qid": qid,
                    "text": text,
                    "scores": [
                        round(100 * language.scores[name][language.metric][qid], 2)
                        for name in language.systems
                    ],
                    "file": file_of.get(qid, -1),
                }
                for qid, text in language.queries.items()
            ],
        }

    def _system(self, name: str) -> dict[str, Any]:
        """A system, and whose reasons are its own."""
        return {"name": name, "encoder": name.rpartition("/")[0] or next(iter(self.explainers), "")}

    def _query(
        self,
        qid: str,
        docids: list[str],
        numbers: Mapping[str, int],
        reasons: Mapping[str, Mapping[tuple[str, str], Any]],
    ) -> dict[str, Any]:
        """Everything about a query; documents stand in it once, lists and reasons tell places among them."""
        language = self.language
        grades = (language.task.qrels or {}).get(qid, {})
        relevant = [docid for docid, grade in grades.items() if grade > 0]
        place = {docid: i for i, docid in enumerate(docids)}
        return {
            "qid": qid,
            "documents": [numbers[docid] for docid in docids],
            "grades": [grades.get(docid) for docid in docids],
            "lists": {name: self._list(name, qid, place) for name in language.systems},
            "relevant": [
                {
                    "docid": docid,
                    "grade": grades[docid],
                    "ranks": [self._rank(name, qid, docid) for name in language.systems],
                }
                for docid in relevant[:RELEVANT]
            ],
            "more_relevant": max(0, len(relevant) - RELEVANT),
            "answers": list((language.task.answers or {}).get(qid, []))[:RELEVANT],
            "why": {
                name: _reasons([found[qid, docid] for docid in docids])
                for name, found in reasons.items()
            },
        }

    def _list(self, system: str, qid: str, place: Mapping[str, int]) -> dict[str, Any]:
        by_query = self.language.lists[system]
        components = next((list(one.components) for one in by_query.values() if one.components), [])
        found = by_query.get(qid)
        return {
            "places": [place[docid] for docid in found.docids] if found else [],
            "scores": list(found.scores) if found else [],
            "components": {
                name: list(found.components[name]) if found else [] for name in components
            },
        }

    def _rank(self, system: str, qid: str, docid: str) -> int | None:
        found = self.language.lists[system].get(qid)
        return found.ranks.get(docid) if found else None


def fit(
    queries: list[str], documents: list[tuple[str, str]], needed: list[int], room: int, around: int
) -> Fitted:
    """As many files of queries as there is room for, with texts as long as there is room for; one file always.

    Args:
        queries: files, the most important first.
        documents: docids and texts by number.
        needed: how many documents the files up to each one refer to.
        room: bytes.
        around: bytes that a file takes besides.
    """
    n = len(queries)
    length = min(LONGEST, max((len(text) for _, text in documents), default=0))
    while True:
        files = [
            packed([_document(*one, length) for one in some])
            for some in _batches(documents[: needed[n - 1]])
        ]
        asked, given = (sum(len(file) + around for file in some) for some in (queries[:n], files))
        if asked + given <= room or (n == 1 and length <= SHORTEST):
            return Fitted(
                queries[:n],
                files,
                length,
                sum(len(text) > length for _, text in documents[: needed[n - 1]]),
            )
        if length > SHORTEST:
            length = max(SHORTEST, int(length * max(0.0, room - asked) / given))
        else:
            n = max(1, min(n - 1, int(n * room / (asked + given))))


def _document(docid: str, text: str, length: int) -> dict[str, Any]:
    return {"docid": docid, "text": text[:length], "more": max(0, len(text) - length)}


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


def _reasons(evidence: list[Any]) -> dict[str, Any]:
    """Why documents were found: the query's terms and tokens once, documents tell which. A place of -1: not in the text."""
    words: dict[tuple[str, float], int] = {}
    tokens: dict[tuple[int, int], int] = {}
    documents = [
        {
            "terms": [
                {
                    "word": words.setdefault((word, ours), len(words)),
                    "weight": theirs,
                    **_span(span),
                }
                for word, ours, theirs, span in one.terms
            ],
            "pairs": [
                {
                    "token": tokens.setdefault(asked or (-1, -1), len(tokens)),
                    "product": product,
                    **_span(given),
                }
                for asked, given, product in one.pairs
            ],
        }
        for one in evidence
    ]
    return {
        "words": [{"word": word, "weight": weight} for word, weight in words],
        "tokens": [_span(span) for span in tokens],
        "documents": documents,
    }


def _span(span: tuple[int, int] | None) -> dict[str, int]:
    start, end = span or (-1, -1)
    return {"at": start, "length": end - start}
