"""The census of a text set: all that one reading of it, from the first text to the last, tells."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from m3eval.benchmarks.repeats import Ids
from m3eval.content import Content, Counter
from m3eval.errors import UserError

T = TypeVar("T")
SAMPLE = 64  # texts of a census, by which tokens and bytes are foreseen
# Characters of a token at the very most, on average over a text; a sample keeps no more of a text.
LONGEST_TOKEN = 16


@dataclass(frozen=True)
class Census:
    """What one pass over a text set counted. It decides whether a store is of these very texts."""

    content: Content
    # At most `SAMPLE` texts, evenly spaced by position, as far as an encoder may read them.
    sample: tuple[tuple[str, str], ...]  # (id, text)
    # SHA-256 of all ids and texts in their order, by which early versions told texts apart. Only
    # who reads a whole set in turn can tell it.
    sha256: str | None = None
    absent: frozenset[str] = frozenset()  # ids that were looked for and do not occur

    def remark(self, name: str) -> str | None:
        """A line on the empty texts of the set `name`; None where it has none."""
        empty, count = self.content.empty, self.content.count
        if not empty:
            return None
        return f"  {name}: {empty:,} of {count:,} texts are empty or white space only"


class Sample(Generic[T]):
    """Texts evenly spaced over a stream whose length is not known before its end.

    Every `stride`-th text is kept. When twice as many are kept as are wanted, every other one goes,
    and the stride doubles.
    """

    def __init__(self, size: int = SAMPLE) -> None:
        """An empty sample that will have `size` texts, or all where there are fewer."""
        self.size, self.stride, self.seen = size, 1, 0
        self.kept: list[T] = []

    def offer(self, text: T) -> None:
        """Looks at the next text of the stream."""
        if self.seen % self.stride == 0:
            self.kept.append(text)
            if len(self.kept) == 2 * self.size:
                del self.kept[1::2]
                self.stride *= 2
        self.seen += 1

    def texts(self) -> tuple[T, ...]:
        """The texts kept, in the order of the stream."""
        n = len(self.kept)
        if n <= self.size:
            return tuple(self.kept)
        return tuple(self.kept[i * n // self.size] for i in range(self.size))


def require_fit(name: str, key: str) -> None:
    """Raises UserError where an id of the set `name` is none that a run file can hold."""
    if not key or key.split() != [key]:
        raise UserError(
            f"{name}: the id {key!r} is empty or contains white space, so no run file can hold it. "
            "Rename it in the corpus, the queries and the judgements."
        )


def require_unique(name: str, ids: Ids, again: Callable[[], Iterable[str]]) -> None:
    """Raises UserError where ids of the set `name` occur twice; `again` reads all of them."""
    if repeated := ids.repeated(again):
        raise UserError(f"{name}: ids must be unique, but these occur more than once: {repeated}.")


class Tally:
    """Counts the texts of a set as they are read, in memory that does not grow with them."""

    def __init__(self, name: str, max_length: int, wanted: Iterable[str] = ()) -> None:
        """Nothing yet.

        Args:
            name: of the text set.
            max_length: tokens of a text that are read.
            wanted: ids to look for; those that do not occur are `absent` from the census.
        """
        self.name, self.counter = name, Counter(max_length)
        self._absent, self._ids = set(wanted), Ids()
        self._sample: Sample[tuple[str, str]] = Sample()
        self._in_turn, self._read_at_most = hashlib.sha256(), LONGEST_TOKEN * max_length

    def add(self, key: str, text: str) -> int:
        """Counts the next text; gives its hash, see `content.Counter`.

        Raises:
            UserError: its id is empty or contains white space, which separates the columns of a run
                file.
        """
        require_fit(self.name, key)
        known = self.counter.add(key, text)
        self._in_turn.update(f"{key}\t{text}\n".encode())
        self._ids.add(key)
        self._sample.offer((key, text[: self._read_at_most]))
        self._absent.discard(key)
        return known

    def so_far(self) -> Census:
        """The census of the texts that were read so far."""
        return Census(
            self.counter.content,
            self._sample.texts(),
            self._in_turn.hexdigest(),
            frozenset(self._absent),
        )

    def census(self, again: Callable[[], Iterable[str]]) -> Census:
        """The census, after the last text.

        Args:
            again: reads all ids once more, where two may be the same.

        Raises:
            UserError: there are no texts, or an id occurs twice.
        """
        if not self.counter.count:
            raise UserError(f"{self.name}: there are no texts in it.")
        with self._ids as ids:
            require_unique(self.name, ids, again)
        return self.so_far()
