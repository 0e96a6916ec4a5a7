"""Texts with ids, as encoders and analysers read them, made from a corpus or from queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from m3eval.benchmarks.normalize import NORMALIZERS
from m3eval.benchmarks.tally import Census, Tally
from m3eval.benchmarks.task import Corpus, Document, Task, Unread
from m3eval.content import work_of
from m3eval.kinds import NOT_EMPTY, whole

T = TypeVar("T")
Role = Literal["query", "document"]
TokenLimit = Annotated[int, whole(8)]  # special tokens included


@dataclass(frozen=True)
class TextRules:
    """How a benchmark makes texts of its documents, and how many tokens of a text are read."""

    document_fields: Annotated[list[Literal["title", "text"]], NOT_EMPTY] = field(
        default_factory=lambda: ["title", "text"]
    )
    joint: str = "\n"  # stands between two fields that are not empty
    max_query_length: TokenLimit = 512  # tokens, special tokens included
    max_document_length: TokenLimit = 512
    # Applied to documents after their fields are joined; benchmarks/normalize.py has the functions.
    normalize: Literal["none", "strip", "mkqa"] = "none"

    def text(self, document: Document) -> str:
        """The text of a document: its non-empty fields, joined and then normalised."""
        text = self.joint.join(
            value for name in self.document_fields if (value := getattr(document, name))
        )
        return NORMALIZERS[self.normalize](text)

    def max_length(self, role: Role) -> int:
        """The largest number of tokens of a query or a document that is read."""
        return self.max_query_length if role == "query" else self.max_document_length


class Item(NamedTuple):
    """A text that may be skipped: only who asks for it has it parsed."""

    size: int  # about its characters; the same at every reading
    pair: Callable[[], tuple[str, str]]  # (id, text)
    raw: Callable[[], bytes] | None = None  # all that it is made of; None: it was parsed anyway
    hash: int | None = None  # with its id and place, of one that was counted: see `content.Counter`

    @classmethod
    def of(cls, pair: tuple[str, str]) -> Item:
        """A text that was parsed in any case."""
        return cls(len(pair[1]), lambda: pair)


@dataclass(frozen=True)
class TextSet:
    """Texts with ids: the documents of a corpus, or the queries of a language."""

    name: str
    role: Role
    read: Callable[[], Iterator[tuple[str, str]]]  # (id, text) pairs, from the start at every call
    max_length: int  # tokens
    files: tuple[Path, ...] = ()  # all that `read` reads; empty where that is not known
    lazy: Callable[[], Iterator[Item]] | None = None  # the same texts, where some may be skipped

    def items(self) -> Iterator[Item]:
        """All texts, from the start; where they cannot be skipped, they are parsed."""
        return self.lazy() if self.lazy else map(Item.of, self.read())

    def work(self, characters: int) -> int:
        """How many of a text's characters count for the encoding time: see `work_of`."""
        return work_of(characters, self.max_length)

    def tally(self, wanted: Iterable[str] = ()) -> Tally:
        """What counts these texts while they are read; `wanted` are ids to look for."""
        return Tally(self.name, self.max_length, wanted)

    def census(self, wanted: Iterable[str] = ()) -> Census:
        """Reads all texts once, in memory that does not grow with them.

        Args:
            wanted: ids to look for; those that do not occur are returned as `absent`.

        Raises:
            UserError: there are no texts; or an id is empty, contains white space or occurs twice.
        """
        tally = self.tally(wanted)
        for key, text in self.read():
            tally.add(key, text)
        return tally.census(self.ids)

    def ids(self) -> Iterator[str]:
        """The ids of all texts, from the start."""
        return (key for key, _ in self.read())


def document_texts(corpus: Corpus, rules: TextRules) -> TextSet:
    """The documents of a corpus as texts."""

    def read() -> Iterator[tuple[str, str]]:
        return ((document.docid, rules.text(document)) for document in corpus.read())

    def items(unread: Iterator[Unread]) -> Iterator[Item]:
        return (Item(size, partial(pair, document), raw) for size, document, raw in unread)

    def pair(document: Callable[[], Document]) -> tuple[str, str]:
        made = document()
        return made.docid, rules.text(made)

    lazy = None if (unread := corpus.unread) is None else lambda: items(unread())
    name = f"corpus-{corpus.name}"
    return TextSet(name, "document", read, rules.max_document_length, corpus.files, lazy)


def query_texts(task: Task, rules: TextRules) -> TextSet:
    """The queries of one language as texts."""
    return TextSet(
        f"queries-{task.language}", "query", lambda: iter(task.queries), rules.max_query_length
    )


def text_sets(task: Task, rules: TextRules) -> tuple[TextSet, TextSet]:
    """The documents and the queries of one language, as an encoder reads them."""
    return document_texts(task.corpus, rules), query_texts(task, rules)


def _length(text: Any) -> int:
    return text if isinstance(text, int) else len(text[1])


def shards(texts: Iterable[T], most_texts: int, most_characters: int) -> Iterator[list[T]]:
    """Cuts a stream of (id, text) pairs, or of numbers of characters, into lists.

    A list ends when it has `most_texts` texts, or at least `most_characters` characters.
    """
    shard: list[T] = []
    characters = 0
    for text in texts:
        shard.append(text)
        characters += _length(text)
        if len(shard) == most_texts or characters >= most_characters:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard
