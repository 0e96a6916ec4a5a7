"""A folder of files that also lie in a bucket: which they are, and how many of them may stay.

Large files are removed here where they would exceed a bound, those first that were read longest
ago, and never one that was not put or fetched before: `.index.jsonl` says which those are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from m3eval.remote import Object

try:
    import fcntl
except ImportError:  # not a POSIX system: one process at a time may use the folder there
    fcntl = None

# What may leave this machine again: ids and arrays of shards, which are read file by file.
LARGE = re.compile(r"(?:.*/)?shards/\d+/[^/]+(?<!\.json)")
COUNTED_ANEW = 16  # files are counted again once a part so large of the bound was added


@dataclass
class CacheFolder:
    """The folder that stands for a bucket. Files have the names of its objects."""

    folder: Path
    limit: int  # bytes of large files
    counted: int | None = None  # bytes of large files when they were counted last
    added: int = 0  # bytes since

    def name(self, path: Path) -> str:
        """The object's name of a file."""
        return path.relative_to(self.folder).as_posix()

    def path(self, name: str) -> Path:
        """The file of an object."""
        return self.folder / name

    def known(self) -> dict[str, Object]:
        """Of the files here that are or were the bucket's: which object each was."""
        path, known = self.folder / ".index.jsonl", {}
        for line in path.read_text("utf-8").splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a killed process' half
                entry = json.loads(line)
                name = entry.pop("name")
                known[name] = Object(**entry) if entry else None
        return {name: there for name, there in known.items() if there is not None}

    def note(self, name: str, there: Object | None) -> None:
        """Remembers that a file is the bucket's object, or that there is no such object more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"name": name, **(asdict(there) if there else {})})
        with (self.folder / ".index.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # a killed process may have left half a line

    def files(self, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
        """The names of the files below a folder; others may remove some meanwhile."""
        for folder, inner, names in os.walk(self.path(below)):
            inner[:] = [name for name in inner if not name.startswith(".")]
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(FileNotFoundError):
                    yield self.name(path), path.stat()

    def drop(self, name: str) -> None:
        """Removes a file, and folders that are empty then: an empty one would be a shard."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # one is not empty
            for folder in path.parents:
                if folder == self.folder:
                    break
                folder.rmdir()

    @contextmanager
    def staying(self, path: Path) -> Iterator[None]:
        """Large files stay while the block runs; the one that it opens is the last to go then."""
        with self._lock(alone=False):
            if path.exists() and LARGE.fullmatch(self.name(path)):
                # The time of change stays, for seals look at it.
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            yield

    def make_room(self, new: int, here: bool) -> None:
        """Removes large files where they and so many new bytes would exceed the bound.

        Args:
            new: bytes.
            here: whether these are here already, and not about to come.
        """
        self.added += new
        incoming = 0 if here else new
        few = self.added < self.limit / COUNTED_ANEW
        if self.counted is not None and few and self.counted + self.added <= self.limit:
            return
        with self._lock(alone=True):
            known = self.known()
            large = [each for each in self.files() if LARGE.fullmatch(each[0])]
            total = sum(status.st_size for _, status in large)
            for name, status in sorted(large, key=lambda each: each[1].st_atime_ns):
                if total + incoming <= self.limit:
                    break
                if name in known and known[name].size == status.st_size:
                    self.path(name).unlink(missing_ok=True)
                    total -= status.st_size
        self.counted, self.added = total, incoming

    @contextmanager
    def part(self) -> Iterator[Path]:
        """A path for what is being fetched, a file or a folder; removed at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".fetched.{os.getpid()}-{secrets.token_hex(4)}.part"
        try:
            yield part
        finally:
            remove(part)

    @contextmanager
    def _lock(self, alone: bool) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".cache.lock").open("a") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
