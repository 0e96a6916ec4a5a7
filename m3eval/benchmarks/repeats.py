"""Ids that occur more than once: found exactly, in memory that does not grow with the texts.

Only a hash of each id is kept, 8 bytes, and beyond a bound those lie in a file. Two ids can share a
hash, so equal hashes only say which ids a second reading has to count.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np

IN_MEMORY = 8_000_000  # hashes: 64 MB
AT_A_TIME = 1000  # hashes whose ids one more reading counts
EXAMPLES = 5


class Ids:
    """The ids of a text set, as they are read. A context: its file goes with it.

    Args:
        hashed: gives 64 bits for an id.
        in_memory: the most hashes that are in memory at once.
        at_a_time: the most hashes that occur twice whose ids one reading counts.
    """

    def __init__(
        self,
        hashed: Callable[[str], int] = hash,
        in_memory: int = IN_MEMORY,
        at_a_time: int = AT_A_TIME,
    ) -> None:
        self.hashed, self.in_memory, self.at_a_time = hashed, in_memory, at_a_time
        self.count = 0
        self.hashes = array("q")
        self.spilled: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.spilled:
            self.spilled.close()

    def add(self, key: str) -> None:
        """Notes an id."""
        self.count += 1
        self.hashes.append(self.hashed(key))
        if len(self.hashes) == self.in_memory:
            if self.spilled is None:
                self.spilled = tempfile.TemporaryFile(prefix="m3eval-")  # noqa: SIM115 see __exit__
            self.hashes.tofile(self.spilled)
            del self.hashes[:]

    def repeated(self, again: Callable[[], Iterable[str]]) -> list[str]:
        """Some of the ids that occur more than once; empty: there are none.

        Args:
            again: reads all ids again, where two have the same hash.
        """
        for suspects in self._suspects():
            counts = Counter(key for key in again() if self.hashed(key) in suspects)
            if found := [key for key, n in counts.most_common(EXAMPLES) if n > 1]:
                return found
        return []

    def _suspects(self) -> Iterator[set[int]]:
        """The hashes that occur more than once, `at_a_time`."""
        import numpy as np

        parts = -(-self.count // self.in_memory)
        for part in range(parts):
            # A part has the hashes with one remainder: about as many as one block.
            own = [block[block % parts == part] for block in self._blocks()]
            hashes = np.sort(np.concatenate(own))
            twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
            for start in range(0, len(twice), self.at_a_time):
                yield {*twice[start : start + self.at_a_time].tolist()}

    def _blocks(self) -> Iterator[np.ndarray]:
        """Every hash, in blocks of what memory holds: [<= in_memory] int64."""
        import numpy as np

        if self.spilled:
            self.spilled.seek(0)
            while block := self.spilled.read(8 * self.in_memory):
                yield np.frombuffer(block, np.int64)
        yield np.frombuffer(self.hashes, np.int64)
