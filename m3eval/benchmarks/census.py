"""The census of a text set, kept in a file as long as the files that the texts come from stay.

Every stage holds the texts that it is given against those that stores and runs are of. A corpus of
millions of documents need not be read through for that each time: a file with the same size, inode
and times of change has the same content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.benchmarks.once import ReadOnce
from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.texts import TextSet
from m3eval.errors import UserError
from m3eval.files import digest, sweep
from m3eval.locks import held
from m3eval.records import read, write

# A file that changed so lately may change again without another time: clocks of file systems tick.
SETTLED = 2_000_000_000  # nanoseconds


def reading(
    texts: TextSet,
    wanted: Collection[str],
    rules: Mapping[str, Any],
    place: Callable[[str], Path],
) -> ReadOnce:
    """A text set to be read; what is in it is known where an earlier reading left a file that says.

    The file is left when all was read.

    Args:
        texts: the set; one whose files are not known is always read.
        wanted: ids to look for.
        rules: all that decides how texts are made of the content of their files.
        place: gives the file for a digest of all that decides the census.
    """
    before = _states(texts.files)
    if not before:
        return ReadOnce(texts, wanted)
    key = digest({"set": texts.name, "files": before, "wanted": sorted(wanted), "rules": rules})
    path = place(key[:16])
    if kept := _kept(path, key):
        return ReadOnce(texts, wanted, kept)

    def keep(found: Census) -> None:
        newest = max(max(state.modified, state.changed) for state in before)
        if _states(texts.files) == before and newest < time.time_ns() - SETTLED:
            # A folder that cannot be written to, or where another process is at it, costs time.
            lock = path.with_name(f".{path.name}.lock")
            with suppress(OSError, UserError), held(lock, f"The census {path}", "m3eval"):
                sweep(path.parent, [path.name])
                write(path, Kept(key, found))

    read_once = ReadOnce(texts, wanted)
    read_once.at_end.append(keep)
    return read_once


@dataclass(frozen=True)
class Kept:
    """A census as a file has it."""

    key: str  # digest of all that decides it: the name of the file has only a part of that
    census: Census
    sealed: str | None = field(default=None, metadata={"optional": True})


class FileState(NamedTuple):
    """What changes whenever a file does."""

    path: str
    bytes: int
    inode: int
    modified: int  # nanoseconds
    changed: int  # nanoseconds; unlike `modified` nobody can set it


def _states(files: Collection[Path]) -> list[FileState]:
    """The state of each file; empty where one cannot be looked at: reading it will say why."""
    states = []
    for path in files:
        try:
            at = path.stat()
        except OSError:
            return []
        state = FileState(
            str(path.absolute()), at.st_size, at.st_ino, at.st_mtime_ns, at.st_ctime_ns
        )
        states.append(state)
    return states


def _kept(path: Path, key: str) -> Census | None:
    """The census in a file; None where there is none that is whole and of this key."""
    try:
        kept = read(path, Kept)
    except UserError:
        return None
    return kept.census if kept.sealed and kept.key == key else None
