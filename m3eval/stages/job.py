"""What stage 0 has to do for one text set, and what is foreseen of one that is not read yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from m3eval.benchmarks.once import ReadOnce
from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.texts import TextSet
from m3eval.stores.writer import StoreWriter

PACKED = 3.0  # bytes of text in a byte of a file whose name ends so; measured on MIRACL's
PACKED_ENDINGS = (".gz", ".zst", ".parquet")


class Job(NamedTuple):
    """A text set, what is known of it before it is encoded, and the store that it goes to."""

    texts: TextSet  # it is read once: see `reading`
    reading: ReadOnce
    census: Census  # of all texts, or as `foreseen`
    foreseen_by: str | None  # in words; None: all texts were counted
    store: StoreWriter


def foreseen(reading: ReadOnce, published: int | None) -> tuple[Census, str | None]:
    """What is known of a set, with the number of its texts and all sums as far as can be told.

    Args:
        reading: of the set; something was read.
        published: how many texts its authors state; None: they state none.

    Returns:
        The census, and by what it is foreseen, in words; None: everything was counted.
    """
    census = reading.so_far
    if reading.known:
        return census, None
    seen = census.content
    count, by = seen.count, "at least; no more is known before they are read"
    if published is not None:
        count, by = published, "as published"
    elif reading.texts.files:
        utf8 = sum(len(text.encode()) for _, text in census.sample) / len(census.sample)
        count, by = round(_bytes(reading.texts.files) / utf8), "by the sizes of their files"
    grown = max(count, seen.count) / seen.count
    content = replace(
        seen,
        count=round(seen.count * grown),
        work=round(seen.work * grown),
        characters=round(seen.characters * grown),
    )
    return replace(census, content=content), by


def _bytes(files: Sequence[Path]) -> float:
    """About how many bytes of text files hold."""
    return sum(
        path.stat().st_size * (PACKED if path.name.endswith(PACKED_ENDINGS) else 1)
        for path in files
    )
