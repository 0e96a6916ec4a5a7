"""What a benchmark asks in one language: a corpus, queries and judgements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from m3eval.benchmarks.landing import UNKNOWN, Landing
from m3eval.hub import Files


class Document(NamedTuple):
    """One entry of a corpus."""

    docid: str
    title: str
    text: str


class Query(NamedTuple):
    """One question."""

    qid: str
    text: str


# An entry of a corpus that may be passed by: as `textfiles.Unparsed`, of a document.
Unread = tuple[int, Callable[[], Document], Callable[[], bytes]]


@dataclass(frozen=True)
class Corpus:
    """A stream of documents that can be read many times. It is never held in memory as a whole."""

    # Names the store. It is the language, unless several languages share this corpus.
    name: str
    read: Callable[[], Iterator[Document]]
    # The number of documents that the benchmark's authors state. None: they state none.
    published: int | None = None
    # The language of the texts, where `name` is not it. An analyser needs to know it.
    language: str | None = None
    # All files that `read` reads: while they do not change, neither do the documents. Empty where
    # documents come from elsewhere.
    files: tuple[Path, ...] = ()
    # What is known of its first and last document, and of its length.
    landing: Landing = UNKNOWN
    # The same documents for who needs some of them. None: all are parsed by everybody.
    unread: Callable[[], Iterator[Unread]] | None = None


@dataclass(frozen=True)
class Task:
    """One language of a benchmark, judged by `qrels` or, where these are None, by `answers`."""

    language: str
    corpus: Corpus
    queries: list[Query]
    # qid -> docid -> grade
    qrels: Mapping[str, Mapping[str, int]] | None = None
    # qid -> strings; a document that contains one of them answers the query
    answers: Mapping[str, list[str]] | None = None
    # Groups of queries that are reported apart, too: name -> qids. The same names in each language.
    groups: Mapping[str, Collection[str]] = field(default_factory=dict)
    # The number of queries that the benchmark's authors state. None: they state none.
    published_queries: int | None = None
    # How answers are found: by DPR's tokens, or, in scripts without spaces, by characters.
    matching: Literal["tokens", "characters"] = "tokens"
    # What answer recall divides by: all queries, or those for which the run has documents.
    denominator: Literal["all", "run"] = "all"
    # Repository on the hub -> commit of the files that were read; None where it is not known.
    commits: Mapping[str, str | None] = field(default_factory=dict)
    # What is known of the first and the last query.
    landing: Landing = UNKNOWN

    @property
    def relevant(self) -> set[str]:
        """The docids that the judgements of at least one query call relevant."""
        return {
            docid
            for grades in (self.qrels or {}).values()
            for docid, grade in grades.items()
            if grade > 0
        }

    @property
    def judged(self) -> list[str]:
        """The qids over which a mean is taken, in the order of the judgements."""
        return list(self.qrels if self.qrels is not None else self.answers or ())


class Benchmark(Protocol):
    """What the class in every file of this folder provides."""

    @property
    def languages(self) -> list[str]:
        """The languages that it has, in the order of its tables."""
        ...

    def task(self, language: str) -> Task:
        """Opens one language.

        Raises:
            UserError: files are missing or malformed.
        """
        ...


@runtime_checkable
class HubBenchmark(Benchmark, Protocol):
    """A benchmark whose files lie on the hub, so that a mirror can be made of it."""

    @property
    def root(self) -> str | None:
        """The folder of a mirror; None for the hub."""
        ...

    def files(self, language: str) -> list[Files]:
        """The files that `task` reads, by repository."""
        ...
