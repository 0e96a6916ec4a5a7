"""A text set that is read once: as far as is needed to begin, and the rest while it is encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.texts import Item, TextSet

# Characters that are read of a set before it is encoded. A set that ends within them is known as a
# whole before its first text is encoded; they are what memory holds of it.
AHEAD = 16_000_000

OnEnd = Callable[[Census], object]


class ReadOnce:
    """The reading of a text set. What was read ahead is given to whoever reads, and not again."""

    def __init__(
        self, texts: TextSet, wanted: Iterable[str] = (), census: Census | None = None
    ) -> None:
        """Reads nothing yet.

        Args:
            texts: the set.
            wanted: ids that its census looks for.
            census: that of an earlier reading; then nothing is counted again.
        """
        self.texts, self.wanted = texts, frozenset(wanted)
        self.at_end: list[OnEnd] = []  # what is done when all texts were read; may raise UserError
        self._census, self._tally = census, texts.tally(self.wanted)
        self._ahead: deque[Item] = deque()
        self._stream = texts.items()
        self._further = self._counted()
        self._given = census is not None
        self._failed: Exception | None = None

    @property
    def known(self) -> Census | None:
        """The census, where all texts were read."""
        return self._census

    @property
    def so_far(self) -> Census:
        """The census of the texts that were read."""
        return self._census or self._tally.so_far()

    def look(self, characters: int = AHEAD, work: float = 0) -> None:
        """Reads ahead until so many characters and so much work were counted, or to the end.

        Raises:
            UserError: see `TextSet.census`; and whatever `at_end` raises.
        """
        seen = self._tally.counter
        while not self._census and (seen.characters < characters or seen.work <= work):
            if (item := next(self._further, None)) is not None:
                self._ahead.append(item)
            else:
                self._require_read()

    def census(self) -> Census:
        """The census of all texts, which are read to the end for it. Raises as `look`."""
        if self._census is None:
            self._given = True
            self._ahead.clear()
            for _ in self._further:
                pass
        return self._require_read()

    def items(self, skipping: bool = False) -> Iterator[Item]:
        """All texts, from the first; who reads a second time reads the files again.

        Args:
            skipping: of what was not read ahead only that is parsed which the reader asks for;
                then nothing is counted.
        """
        if self._given:
            yield from self.texts.items()
            return
        self._given = True
        while self._ahead:
            yield self._ahead.popleft()
        yield from self._stream if skipping and self._census is None else self._further

    def settle(self, census: Census) -> None:
        """Takes a census that was made otherwise; then what is done at the end is done."""
        self._census = census
        for act in self.at_end:
            act(census)

    def _require_read(self) -> Census:
        """The census after the last text. Raises what stopped the reading, as often as asked."""
        if self._census is None:
            raise self._failed or RuntimeError(f"{self.texts.name} is being read elsewhere")
        return self._census

    def _counted(self) -> Iterator[Item]:
        try:
            for item in self._stream:
                pair = item.pair()
                known = self._tally.add(*pair)
                yield Item(item.size, partial(_same, pair), item.raw, known)
            census = self._tally.census(self._ids)
        except Exception as error:
            self._failed = error
            raise
        self.settle(census)

    def _ids(self) -> Iterable[str]:
        """All ids: from memory where it holds all texts."""
        if len(self._ahead) == self._tally.counter.count:
            return (item.pair()[0] for item in self._ahead)
        return self.texts.ids()


def _same(pair: tuple[str, str]) -> tuple[str, str]:
    return pair
