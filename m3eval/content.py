"""What is in some of the texts of a set, so that the parts of a set can be added up.

A set is cut into shards, and whoever makes a shard knows what is in it; the sum over all shards is
what is in the set, however it was cut and whoever was the first to be done.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

MODULUS = 2**256
DIGITS = 64  # of a sum, in hexadecimal
COUNTED = 4  # characters of a text, per token that is read of it, that count for encoding time


@dataclass(frozen=True)
class Content:
    """What is in texts that follow each other in a set."""

    count: int
    # The sum, modulo 2^256, of the SHA-256 of each text with its id and its place in the set. It
    # finds damage, other texts and another order. It is no proof against somebody who makes texts
    # up on purpose: of sums, unlike of hashes, equal ones can be sought.
    sum: str
    work: int  # sum of `work_of` in characters; encoding time is forecast from it
    characters: int
    empty: int  # texts without a character other than white space
    first: str  # id of the first text
    last: str  # id of the last one

    @classmethod
    def of(
        cls,
        texts: Iterable[tuple[str, str]],
        place: int,
        max_length: int,
        hashes: Iterable[int | None] = (),
    ) -> Content:
        """What is in texts.

        Args:
            texts: (id, text) pairs; one at least.
            place: the number of the set's texts before them.
            max_length: tokens of a text that are read.
            hashes: what `Counter.add` gave for those that were counted in this set before.
        """
        counter = Counter(max_length, place)
        for (key, text), known in itertools.zip_longest(texts, hashes):
            counter.add(key, text, known)
        return counter.content

    def __add__(self, after: Content) -> Content:
        return Content(
            self.count + after.count,
            _digits(int(self.sum, 16) + int(after.sum, 16)),
            self.work + after.work,
            self.characters + after.characters,
            self.empty + after.empty,
            self.first,
            after.last,
        )


class Counter:
    """Counts texts as they are read."""

    def __init__(self, max_length: int, place: int = 0) -> None:
        """Nothing yet, of texts that are cut at `max_length` tokens; `place` as for `Content`."""
        self.max_length, self.place = max_length, place
        self.count = self.work = self.characters = self.empty = self._sum = 0
        self.first = self.last = ""

    def add(self, key: str, text: str, known: int | None = None) -> int:
        """Counts the next text. Its id has no white space, so what is hashed can be told apart.

        Args:
            key: its id.
            text: the text.
            known: its hash, if it was counted before.

        Returns:
            The hash of the text with its id and its place.
        """
        if known is None:
            hashed = f"{self.place + self.count}\t{key}\t{text}".encode()
            known = int.from_bytes(hashlib.sha256(hashed).digest())
        self._sum += known
        self.first, self.last = self.first or key, key
        self.count += 1
        self.characters += len(text)
        self.work += work_of(len(text), self.max_length)
        self.empty += not text or text.isspace()
        return known

    @property
    def content(self) -> Content:
        """What was counted so far."""
        return Content(
            self.count,
            _digits(self._sum),
            self.work,
            self.characters,
            self.empty,
            self.first,
            self.last,
        )


def work_of(characters: int, max_length: int) -> int:
    """How many of a text's characters count for the encoding time.

    A text is cut at `max_length` tokens, so what lies far behind that costs nothing.
    """
    return min(characters, COUNTED * max_length)


def _digits(number: int) -> str:
    return f"{number % MODULUS:0{DIGITS}x}"
