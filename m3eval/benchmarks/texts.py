"""Texts with ids, as encoders and analysers read them, made from a corpus or from queries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from m3eval.benchmarks.normalize import NORMALIZERS
from m3eval.benchmarks.repeats import Ids
from m3eval.benchmarks.task import Corpus, Document, Task
from m3eval.errors import UserError
from m3eval.kinds import NOT_EMPTY, whole

Role = Literal["query", "document"]
TokenLimit = Annotated[int, whole(8)]  # special tokens included
SAMPLE = 64  # texts of a census, by which tokens and bytes are foreseen
# Characters of a token at the very most, on average over a text; a sample keeps no more of a text.
LONGEST_TOKEN = 16


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


@dataclass(frozen=True)
class Census:
    """What one pass over a text set counted. It decides whether a store is of these very texts."""

    count: int
    work: int  # sum of `TextSet.work` in characters; encoding time is forecast from it
    sha256: str  # of the ids and texts in their order
    first: str  # id of the first text
    last: str  # id of the last one
    characters: int
    # At most `SAMPLE` texts, evenly spaced by position, as far as an encoder may read them.
    sample: tuple[tuple[str, str], ...]  # (id, text)
    absent: frozenset[str] = frozenset()  # ids that were looked for and do not occur
    empty: int = 0  # texts without a character other than white space

    def remark(self, name: str) -> str | None:
        """A line on the empty texts of the set `name`; None where it has none."""
        if not self.empty:
            return None
        return f"  {name}: {self.empty:,} of {self.count:,} texts are empty or white space only"


class Sample:
    """Texts evenly spaced over a stream whose length is not known before its end.

    Every `stride`-th text is kept. When twice as many are kept as are wanted, every other one goes,
    and the stride doubles.
    """

    def __init__(self, size: int = SAMPLE) -> None:
        """An empty sample that will have `size` texts, or all where there are fewer."""
        self.size, self.stride, self.seen = size, 1, 0
        self.kept: list[tuple[str, str]] = []

    def offer(self, key: str, text: str) -> None:
        """Looks at the next text of the stream."""
        if self.seen % self.stride == 0:
            self.kept.append((key, text))
            if len(self.kept) == 2 * self.size:
                del self.kept[1::2]
                self.stride *= 2
        self.seen += 1

    def texts(self) -> tuple[tuple[str, str], ...]:
        """The texts kept, in the order of the stream."""
        n = len(self.kept)
        if n <= self.size:
            return tuple(self.kept)
        return tuple(self.kept[i * n // self.size] for i in range(self.size))


@dataclass(frozen=True)
class TextSet:
    """Texts with ids: the documents of a corpus, or the queries of a language."""

    name: str
    role: Role
    read: Callable[[], Iterator[tuple[str, str]]]  # (id, text) pairs, from the start at every call
    max_length: int  # tokens
    files: tuple[Path, ...] = ()  # all that `read` reads; empty where that is not known

    def work(self, characters: int) -> int:
        """How many of a text's characters count for the encoding time.

        A text is cut at `max_length` tokens, so what lies far behind that costs nothing.
        """
        return min(characters, 4 * self.max_length)

    def census(self, wanted: Iterable[str] = ()) -> Census:
        """Reads all texts once, in memory that does not grow with them.

        Args:
            wanted: ids to look for; those that do not occur are returned as `absent`.

        Raises:
            UserError: there are no texts; or an id is empty, contains white space (which separates
                the columns of a run file) or occurs twice.
        """
        hasher, work, absent = hashlib.sha256(), 0, set(wanted)
        empty, first, key, characters = 0, "", "", 0
        sample, read_at_most = Sample(), LONGEST_TOKEN * self.max_length
        with Ids() as ids:
            for key, text in self.read():
                if not key or key.split() != [key]:
                    raise UserError(
                        f"{self.name}: the id {key!r} is empty or contains white space, so no run "
                        "file can hold it. Rename it in the corpus, the queries and the judgements."
                    )
                first = first or key
                hasher.update(f"{key}\t{text}\n".encode())
                ids.add(key)
                characters += len(text)
                work += self.work(len(text))
                sample.offer(key, text[:read_at_most])
                empty += not text or text.isspace()
                absent.discard(key)
            if not ids.count:
                raise UserError(f"{self.name}: there are no texts in it.")
            if repeated := ids.repeated(lambda: (key for key, _ in self.read())):
                raise UserError(
                    f"{self.name}: ids must be unique, but these occur more than once: {repeated}."
                )
            count = ids.count
        digest = hasher.hexdigest()
        return Census(
            count,
            work,
            digest,
            first,
            key,
            characters,
            sample.texts(),
            frozenset(absent),
            empty,
        )


def document_texts(corpus: Corpus, rules: TextRules) -> TextSet:
    """The documents of a corpus as texts."""

    def read() -> Iterator[tuple[str, str]]:
        return ((document.docid, rules.text(document)) for document in corpus.read())

    name = f"corpus-{corpus.name}"
    return TextSet(name, "document", read, rules.max_document_length, corpus.files)


def query_texts(task: Task, rules: TextRules) -> TextSet:
    """The queries of one language as texts."""
    return TextSet(
        f"queries-{task.language}", "query", lambda: iter(task.queries), rules.max_query_length
    )


def text_sets(task: Task, rules: TextRules) -> tuple[TextSet, TextSet]:
    """The documents and the queries of one language, as an encoder reads them."""
    return document_texts(task.corpus, rules), query_texts(task, rules)


def shards(
    texts: Iterable[tuple[str, str]], most_texts: int, most_characters: int
) -> Iterator[list[tuple[str, str]]]:
    """Cuts a stream of (id, text) pairs into lists.

    A list ends when it has `most_texts` texts, or at least `most_characters` characters.
    """
    shard: list[tuple[str, str]] = []
    characters = 0
    for key, text in texts:
        shard.append((key, text))
        characters += len(text)
        if len(shard) == most_texts or characters >= most_characters:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard
