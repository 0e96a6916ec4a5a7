"""What the drill-down shows of one language: queries, lists of documents, and evidence.

`m3eval.commands.drilldown` reads the lists from runs, `m3eval.commands.reasons` finds the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from m3eval.benchmarks.task import Task
from m3eval.metrics.ranking import Scores


class Span(NamedTuple):
    """Where something stands in a text, in characters."""

    start: int
    end: int  # exclusive


class SharedTerm(NamedTuple):
    """A token that both a query and a document have, with its lexical weights."""

    word: str  # the token as people read it
    in_query: float  # its weight in the query
    in_document: float  # its weight in the document
    span: Span | None  # where it stands first in the document; None: nowhere that can be told


class TokenPair(NamedTuple):
    """A token of a query, and the token of a document that matches it best."""

    in_query: Span | None  # None: a special token, which stands nowhere in the text
    in_document: Span | None
    product: float  # the inner product of their vectors


@dataclass
class Evidence:
    """Why a document scores what it scores for a query. Both lists begin with what counts most."""

    terms: list[SharedTerm] = field(default_factory=list)
    pairs: list[TokenPair] = field(default_factory=list)


EvidenceOf = Mapping[tuple[str, str], Evidence]  # by qid and docid


class Explains(Protocol):
    """Finds the evidence of one encoder."""

    def explain(
        self,
        docids: Mapping[str, list[str]],
        queries: Mapping[str, str],
        texts: Mapping[str, str],
    ) -> EvidenceOf:
        """The evidence of every query and each of its documents.

        Args:
            docids: by qid.
            queries: texts by qid.
            texts: of the documents by docid.
        """
        ...


@dataclass
class RankedList:
    """A system's list for one query: its first documents, best first."""

    docids: list[str]
    scores: list[float]
    components: dict[str, list[float]]  # of a hybrid: component -> scores, in the order of docids
    ranks: dict[str, int]  # ranks of relevant documents, however deep they stand


@dataclass
class LanguageView:
    """One language of a benchmark as several systems see it."""

    task: Task
    metric: str
    systems: list[str]
    scores: dict[str, Scores]  # system -> metric -> qid -> score
    lists: dict[str, dict[str, RankedList]]  # system -> qid -> list
    read_documents: Callable[[], Iterable[tuple[str, str]]]  # docid and text, as encoders read it

    @cached_property
    def queries(self) -> dict[str, str]:
        """Judged queries and their texts, in the order of the judgements."""
        texts = {query.qid: query.text for query in self.task.queries}
        return {qid: texts[qid] for qid in self.task.judged if qid in texts}

    def score(self, system: str, qid: str) -> float | None:
        """A system's score on a query, x 100; None: the query does not count for it.

        So it is where questions for which a run found nothing are left out.
        """
        value = self.scores[system][self.metric].get(qid)
        return None if value is None else 100 * value

    def spread(self, qid: str) -> float:
        """How far the best and the worst system are apart on a query; no score is the worst."""
        values = [self.score(system, qid) or 0.0 for system in self.systems]
        return max(values) - min(values)

    @cached_property
    def order(self) -> list[str]:
        """Queries on which systems differ most first; equal ones in the benchmark's order."""
        return sorted(self.queries, key=lambda qid: -self.spread(qid))

    def shown(self, qid: str) -> list[str]:
        """The documents that any system has for a query, each once."""
        lists = [by_query[qid] for by_query in self.lists.values() if qid in by_query]
        return list(dict.fromkeys(docid for ranked in lists for docid in ranked.docids))

    def texts(self, docids: set[str]) -> dict[str, str]:
        """The texts of documents, from one pass over the corpus."""
        return {docid: text for docid, text in self.read_documents() if docid in docids}
