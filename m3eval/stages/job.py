"""What stage 0 has to do for one text set."""

from __future__ import annotations

from typing import NamedTuple

from m3eval.benchmarks.texts import Census, TextSet
from m3eval.stores.writer import StoreWriter


class Job(NamedTuple):
    """A text set, what a first reading found in it, and the store that it goes to."""

    texts: TextSet
    census: Census
    store: StoreWriter
