"""What a person sees while a stage runs: lines, a progress bar with rate and time left, sizes and
times in plain units.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from m3eval.secrets import masked


class Printed(io.TextIOBase):
    """Standard output that takes everything: what cannot be written never stops a stage.

    Secrets are masked. A character that the terminal's encoding lacks is printed as its escape.
    Behind `| head` the rest goes to nowhere. So it does where the system refuses it, and then
    `refused` says why.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream  # None: it was closed before the program began
        self.refused: OSError | None = None

    def write(self, text: str) -> int:
        """Prints a text, as far as anybody can read it."""
        if self.stream:
            encoding = self.stream.encoding or "utf-8"
            shown = masked(text).encode(encoding, "backslashreplace").decode(encoding)
            self._unless_refused(lambda stream: stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Writes out what is left."""
        self._unless_refused(lambda stream: stream.flush())

    def _unless_refused(self, act: Callable[[TextIO], object]) -> None:
        if self.stream is None:
            return
        try:
            act(self.stream)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.refused = error
            # Python writes out once more when it ends; that goes to nowhere, too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            self.stream = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream; rich draws with ASCII where it is no UTF."""
        return (self.stream and self.stream.encoding) or "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def fileno(self) -> int:
        """The stream's."""
        if self.stream is None:
            raise io.UnsupportedOperation("standard output is closed")
        return self.stream.fileno()


@contextmanager
def printing() -> Iterator[Printed]:
    """Within the block, standard output takes everything; see `Printed`."""
    printed = Printed(sys.stdout)
    with redirect_stdout(printed):
        try:
            yield printed
        finally:
            printed.flush()


# Plain lines in notebooks, too: there rich makes an HTML block of each otherwise.
console = Console(highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
SECONDS_BETWEEN_LINES = 30  # where there is no terminal to draw a bar on (a cluster's log)


def say(line: str = "") -> None:
    """Prints lines as they are: neither markup nor :names: of emoji are understood in them."""
    console.print(line, markup=False)


class Meter:
    """Counts work done; shows it as a bar or, where output is no terminal, a line now and then."""

    def __init__(self, label: str, total: float, unit: str, bar: Progress | None) -> None:
        self.label, self.total, self.unit, self.bar = label, total, unit, bar
        self.done, self.counted = 0.0, 0
        self.started = self.spoken = time.monotonic()
        self.id = bar.add_task(label, total=total, rate="") if bar else None

    def advance(self, work: float, counted: int) -> None:
        """Adds what is finished.

        Args:
            work: in the measure of the total, for the time left.
            counted: in items, for the rate.
        """
        self.done += work
        self.counted += counted
        now = time.monotonic()
        rate = f"{self.counted / max(now - self.started, 1e-9):,.1f} {self.unit}/s"
        if self.bar and self.id is not None:
            self.bar.update(self.id, completed=self.done, rate=rate)
        elif now - self.spoken > SECONDS_BETWEEN_LINES and self.done:
            share = self.done / self.total
            left = duration((now - self.started) * (1 - share) / share)
            say(f"  {self.label}: {share:.0%}, {rate}, {left} left")
            self.spoken = now


@contextmanager
def meter(label: str, total: float, unit: str) -> Iterator[Meter]:
    """A meter that goes away with the block."""
    if not console.is_terminal:
        yield Meter(label, total, unit, None)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Meter(label, total, unit, bar)


def size(n: float) -> str:
    """Bytes in plain units."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds in plain units."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 90 else f"{hours:.1f} h"
