"""The data of the drill-down: files that a page loads when a reader asks for a query.

    {language}.js          the systems; for every judged query its text, its scores, and its file
    {language}-q000.js     100 queries: lists, component scores, judgements, terms and token pairs
    {language}-d000.js     100 documents; every text stands once

Files are packed, see `columns.py`. Every language has a limit of bytes. Where that is not enough,
all its texts are cut at the same length, down to SHORTEST. If that is still too much, only the
queries on which systems differ most have lists. Pages say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from m3eval.reports.site.columns import packed
from m3eval.reports.site.pages import language_tag, put
from m3eval.reports.site.queries import Evidence, EvidenceOf, Explains, LanguageView, Span

AT_ONCE = 100  # queries, or documents, of a file
LONGEST, SHORTEST = 4000, 200  # characters of a document that are shown
LEAST = 500  # bytes that a query takes at least
RELEVANT = 10  # relevant documents whose ranks are given, and answers that are shown
NOWHERE = Span(-1, -1)
Item = TypeVar("Item")


class LanguageWriter:
    """Writes the files of one language."""

    def __init__(
        self,
        folder: Path,
        name: str,
        language: LanguageView,
        explainers: Mapping[str, Explains],
        limit: int,
    ) -> None:
        """Writes nothing yet.

        Args:
            folder: data/{slug} of the site.
            name: of the language's files.
            language: what is shown.
            explainers: by encoder.
            limit: bytes that all files together may take.
        """
        self.folder, self.language = folder, language
        self.explainers, self.limit = explainers, limit
        self.name, self.key = name, f"{folder.name}/{name}"

    def write(self) -> dict[str, Any]:
        """Writes all files; returns what the page's list of languages says about this one."""
        language = self.language
        # Texts and evidence each take a pass over the corpus, so both are read for all queries
        # that could possibly fit.
        most = max(AT_ONCE, self.limit // LEAST)
        shown = {qid: language.shown(qid) for qid in language.order[:most]}
        texts = language.texts({docid for docids in shown.values() for docid in docids})
        evidence = {
            encoder: explainer.explain(shown, language.queries, texts)
            for encoder, explainer in self.explainers.items()
        }
        numbers: dict[str, int] = {}  # docid -> the document's place in the files of documents
        query_files: list[str] = []
        needed: list[int] = []  # for each of these files
        for qids in _batches(list(shown)):
            for docid in (docid for qid in qids for docid in shown[qid]):
                numbers.setdefault(docid, len(numbers))
            queries = [self._query(qid, shown[qid], numbers, evidence) for qid in qids]
            query_files.append(packed(queries))
            needed.append(len(numbers))
        overhead = len(f'm3eval.put("{self.key}-q0000","");\n')
        room = self.limit - len(self._index(list(shown))) - overhead
        documents = [(docid, texts[docid]) for docid in numbers]
        fitted = fit(query_files, documents, needed, room, overhead)
        with_lists = list(shown)[: AT_ONCE * len(fitted.queries)]
        size = self._put("", self._index(with_lists))
        for kind, files in (("q", fitted.queries), ("d", fitted.documents)):
            size += sum(self._put(f"-{kind}{i:03}", file) for i, file in enumerate(files))
        return {
            "name": language.task.language,
            "key": self.key,
            "queries": len(language.queries),
            "with_lists": len(with_lists),
            "characters": fitted.characters,
            "cut": fitted.cut,
            "bytes": size,
        }

    def _put(self, suffix: str, value: str) -> int:
        return put(self.folder / f"{self.name}{suffix}.js", f"{self.key}{suffix}", value)

    def _index(self, with_lists: Sequence[str]) -> str:
        """The packed index of all queries; those with lists stand in files in this order."""
        language, task = self.language, self.language.task
        file_of = {qid: i // AT_ONCE for i, qid in enumerate(with_lists)}
        queries = [
            {
                "qid": qid,
                "text": text,
                "scores": [
                    None if score is None else round(score, 2)
                    for score in (language.score(name, qid) for name in language.systems)
                ],
                "file": file_of.get(qid, -1),
            }
            for qid, text in language.queries.items()
        ]
        index = {
            "language": language_tag(task.language),
            "corpus_language": language_tag(task.corpus.language or task.corpus.name),
            "metric": language.metric,
            "judged_by": "qrels" if task.qrels is not None else "answers",
            "systems": [self._system(name) for name in language.systems],
            "documents_per_file": AT_ONCE,
            "queries": queries,
        }
        return packed([index])

    def _system(self, name: str) -> dict[str, Any]:
        """A system, and the encoder whose evidence is the system's."""
        return {"name": name, "encoder": name.rpartition("/")[0] or next(iter(self.explainers), "")}

    def _query(
        self,
        qid: str,
        docids: list[str],
        numbers: Mapping[str, int],
        evidence: Mapping[str, EvidenceOf],
    ) -> dict[str, Any]:
        """Everything about a query. Lists and evidence name its documents by their place here."""
        language, task = self.language, self.language.task
        grades = (task.qrels or {}).get(qid, {})
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
            "answers": list((task.answers or {}).get(qid, []))[:RELEVANT],
            "why": {
                encoder: _why([of_encoder[qid, docid] for docid in docids])
                for encoder, of_encoder in evidence.items()
            },
        }

    def _list(self, system: str, qid: str, place: Mapping[str, int]) -> dict[str, Any]:
        by_query = self.language.lists[system]
        # Every query names the same components: packed records have the same keys.
        components = next(
            (list(ranked.components) for ranked in by_query.values() if ranked.components), []
        )
        ranked = by_query.get(qid)
        if ranked is None:
            return {"places": [], "scores": [], "components": {name: [] for name in components}}
        return {
            "places": [place[docid] for docid in ranked.docids],
            "scores": list(ranked.scores),
            "components": {name: list(ranked.components[name]) for name in components},
        }

    def _rank(self, system: str, qid: str, docid: str) -> int | None:
        ranked = self.language.lists[system].get(qid)
        return ranked.ranks.get(docid) if ranked else None


class Fitted(NamedTuple):
    """The files that there is room for."""

    queries: list[str]
    documents: list[str]
    characters: int  # the length at which texts are cut
    cut: int  # how many texts are cut


def fit(
    queries: list[str],
    documents: list[tuple[str, str]],
    needed: list[int],
    room: int,
    overhead: int,
) -> Fitted:
    """As many files of queries, and texts as long, as there is room for; at least one file.

    Args:
        queries: packed files, the most important first.
        documents: docids and texts, by number.
        needed: for each file of queries, how many documents it and those before it refer to.
        room: bytes for all files.
        overhead: bytes that a file takes besides its packed content.
    """
    n = len(queries)
    characters = min(LONGEST, max((len(text) for _, text in documents), default=0))
    while True:
        shown = documents[: needed[n - 1]]
        files = [
            packed([_document(docid, text, characters) for docid, text in batch])
            for batch in _batches(shown)
        ]
        of_queries = sum(len(file) + overhead for file in queries[:n])
        of_documents = sum(len(file) + overhead for file in files)
        if of_queries + of_documents <= room or (n == 1 and characters <= SHORTEST):
            cut = sum(len(text) > characters for _, text in shown)
            return Fitted(queries[:n], files, characters, cut)
        if characters > SHORTEST:
            fitting = int(characters * max(0.0, room - of_queries) / of_documents)
            characters = max(SHORTEST, fitting)
        else:
            n = max(1, min(n - 1, int(n * room / (of_queries + of_documents))))


def _document(docid: str, text: str, characters: int) -> dict[str, Any]:
    return {"docid": docid, "text": text[:characters], "more": max(0, len(text) - characters)}


def _batches(items: list[Item]) -> list[list[Item]]:
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


def _why(evidence: list[Evidence]) -> dict[str, Any]:
    """The evidence of a query's documents.

    What belongs to the query, its words and tokens, stands once; documents refer to it by number.
    """
    words: dict[tuple[str, float], int] = {}  # word and weight in the query -> number
    tokens: dict[Span, int] = {}  # place in the query -> number
    documents = [
        {
            "terms": [
                {
                    "word": words.setdefault((term.word, term.in_query), len(words)),
                    "weight": term.in_document,
                    **_place(term.span),
                }
                for term in of_document.terms
            ],
            "pairs": [
                {
                    "token": tokens.setdefault(pair.in_query or NOWHERE, len(tokens)),
                    "product": pair.product,
                    **_place(pair.in_document),
                }
                for pair in of_document.pairs
            ],
        }
        for of_document in evidence
    ]
    return {
        "words": [{"word": word, "weight": weight} for word, weight in words],
        "tokens": [_place(span) for span in tokens],
        "documents": documents,
    }


def _place(span: Span | None) -> dict[str, int]:
    """Where something stands in a text; at -1: nowhere."""
    start, end = span or NOWHERE
    return {"at": start, "length": end - start}
