"""A benchmark in one language: corpus, queries and judgements, and the protocol that turns them into text."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from m3eval.benchmarks.normalize import NORMALIZERS
from m3eval.errors import UserError
from m3eval.hub import Files

Role = Literal["query", "document"]


class Document(NamedTuple):
    """One entry of a corpus."""

    docid: str
    title: str
    text: str


class Query(NamedTuple):
    """One question."""

    qid: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """A stream of documents that can be read again and again; nothing of it is kept in memory."""

    name: str  # names the store: the language, or the language of a corpus that several languages share
    read: Callable[[], Iterator[Document]]
    published: int | None = (
        None  # number of documents the benchmark's authors state; None: nothing to hold it against
    )
    language: str | None = None  # of its texts, where the name is not it; an analyser must know


@dataclass(frozen=True)
class Task:
    """One language of a benchmark. Judged by `qrels` or, where these are None, by `answers`."""

    language: str
    corpus: Corpus
    queries: list[Query]
    qrels: Mapping[str, Mapping[str, int]] | None = None  # qid -> docid -> grade
    answers: Mapping[str, list[str]] | None = (
        None  # qid -> strings of which one must stand in a document
    )
    published_queries: int | None = None  # number of queries the benchmark's authors state
    denominator: Literal["all", "run"] = (
        "all"  # of answer recall: all questions, or those the run found anything for
    )
    commits: Mapping[str, str | None] = field(
        default_factory=dict
    )  # repository -> commit its files are of, if known

    @property
    def relevant(self) -> set[str]:
        """The docids that some query's judgements call relevant."""
        return {
            docid
            for grades in (self.qrels or {}).values()
            for docid, grade in grades.items()
            if grade > 0
        }

    @property
    def judged(self) -> list[str]:
        """The qids over which a mean is taken, in order."""
        return list(self.qrels if self.qrels is not None else self.answers or ())


class Benchmark(Protocol):
    """What a file in this folder provides."""

    languages: list[str]

    def task(self, language: str) -> Task:
        """Opens one language. Raises UserError where its files are missing or not what is published."""
        ...


@runtime_checkable
class HubBenchmark(Benchmark, Protocol):
    """A benchmark whose files lie on the hub, so that a mirror can be made of it."""

    root: str | None  # the mirror, or None for the hub

    def files(self, language: str) -> list[Files]:
        """The files that `task` reads, by repository."""
        ...


@dataclass(frozen=True)
class TextRules:
    """How documents become the text an encoder reads: a benchmark's fields, their joint and the length limits."""

    document_fields: list[str] = field(default_factory=lambda: ["title", "text"])
    joint: str = "\n"  # stands between fields that are not empty
    max_query_length: int = 512  # tokens, special tokens included
    max_document_length: int = 512
    normalize: Literal["none", "mkqa"] = "none"  # of documents, after joining: see normalize.py

    def text(self, document: Document) -> str:
        """The text of a document: its non-empty fields with the joint between them, normalised if the benchmark says so."""
        text = self.joint.join(
            value for name in self.document_fields if (value := getattr(document, name))
        )
        return NORMALIZERS[self.normalize](text)

    def max_length(self, role: Role) -> int:
        """The limit in tokens for a query or a document."""
        return self.max_query_length if role == "query" else self.max_document_length


class Census(NamedTuple):
    """What one pass over a text set found: decides whether a store is of these very texts."""

    count: int
    work: int  # characters that decide how long encoding takes
    sha256: str  # over id and text of every entry, in order
    absent: frozenset[str] = frozenset()  # ids that were looked for and are not there


@dataclass(frozen=True)
class TextSet:
    """Texts with ids, as an encoder gets them: the documents of a corpus, or the queries of a language."""

    name: str
    role: Role
    read: Callable[[], Iterator[tuple[str, str]]]
    max_length: int

    def work(self, text: str) -> int:
        """The characters of a text that are worth counting for the time left: what is far behind the limit is cut unread."""
        return min(len(text), 4 * self.max_length)

    def census(self, wanted: Iterable[str] = ()) -> Census:
        """Reads everything once, in constant memory but for 8 bytes per text.

        Args:
            wanted: ids to look for.

        Raises:
            UserError: there are no texts, an id is empty, has white space (runs are white-space separated) or occurs twice.
        """
        hasher, keys, work, absent = hashlib.sha256(), array("q"), 0, set(wanted)
        for key, text in self.read():
            if not key or key.split() != [key]:
                raise UserError(
                    f"{self.name}: the id {key!r} is empty or has white space, which no run file can hold."
                )
            hasher.update(f"{key}\t{text}\n".encode())
            keys.append(hash(key))
            work += self.work(text)
            absent.discard(key)
        if not keys:
            raise UserError(f"{self.name}: there are no texts in it.")
        if len(np.unique(np.frombuffer(keys, np.int64))) < len(keys):
            repeated = [
                key for key, n in Counter(key for key, _ in self.read()).most_common(5) if n > 1
            ]
            if repeated:
                raise UserError(
                    f"{self.name}: ids must be unique, but these occur more than once: {repeated}."
                )
        return Census(len(keys), work, hasher.hexdigest(), frozenset(absent))


def document_texts(corpus: Corpus, rules: TextRules) -> TextSet:
    """The corpus as texts for an encoder."""

    def read() -> Iterator[tuple[str, str]]:
        return ((document.docid, rules.text(document)) for document in corpus.read())

    return TextSet(f"corpus-{corpus.name}", "document", read, rules.max_document_length)


def query_texts(task: Task, rules: TextRules) -> TextSet:
    """The queries of one language as texts for an encoder."""
    return TextSet(
        f"queries-{task.language}", "query", lambda: iter(task.queries), rules.max_query_length
    )


def compare_counts(task: Task, found: int, subset: bool) -> str | None:
    """Holds the number of documents that a census `found`, and of queries, against the published ones.

    Returns:
        A remark that this is a subset, or None when everything is as published or nothing is.

    Raises:
        UserError: a count differs and the benchmark was not declared a subset.
    """
    pairs = [
        ("documents", found, task.corpus.published),
        ("queries", len(task.queries), task.published_queries),
    ]
    off = [
        f"{n:,} {what} of {known:,}" for what, n, known in pairs if known is not None and n != known
    ]
    if not off:
        return None
    remark = f"{task.language}: {' and '.join(off)} published"
    if not subset:
        raise UserError(
            f"{remark}. A number from it cannot be set beside a published one: fetch the missing files again, or, if a "
            "part of the benchmark is what you want, say so with benchmark.subset=true (results will be labelled)."
        )
    return remark


def shards(
    texts: Iterable[tuple[str, str]], most_texts: int, most_characters: int
) -> Iterator[list[tuple[str, str]]]:
    """Cuts a stream of ids and texts into shards; a shard ends when it is full in texts or in characters."""
    chunk: list[tuple[str, str]] = []
    characters = 0
    for key, text in texts:
        chunk.append((key, text))
        characters += len(text)
        if len(chunk) == most_texts or characters >= most_characters:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
