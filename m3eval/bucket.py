"""A bucket of an object store, and the folder of this machine that stands for it.

What is written is written into the folder first, where locks, renames and memory maps work, and put
as whole files once it is whole: a record after what it seals, a manifest last. What lies in the
bucket only is fetched when it is first read.

Nobody holds a lock on a bucket. An object that was not there is put with the condition that it
still is not; who comes second accepts one that is the same, and is refused where it is not.
"""

from __future__ import annotations

import filecmp
import hashlib
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from m3eval.cached import LARGE, CacheFolder, remove
from m3eval.console import say, size
from m3eval.errors import UserError
from m3eval.remote import Object, ObjectStore

# What depends on who made it, and says nothing of what was made: who comes second lets it be.
FIRST_STAYS = re.compile(r"(?:.*/)?(?:costs/[^/]+|texts/[^/]+|(?:[^/]+\.)?cost\.json)")
# What else lies in a bucket is not fetched before it is asked for.
FETCHED = {".json", ".trec", ".tsv", ".csv", ".md", ".tex", ".xml"}


@dataclass(frozen=True)
class Origin:
    """A bucket and its folder; it travels to other processes."""

    url: str  # of the bucket
    folder: Path
    limit: int  # bytes of large files that stay in the folder
    outputs: frozenset[str] = frozenset()  # names of the folders that commands write into


@dataclass
class Bucket:
    """What this process knows of a bucket."""

    origin: Origin
    there: dict[str, Object] = field(default_factory=dict)  # what lies in it, by name
    # By name: raises an error unless a SHA-256 is the one that was written.
    expected: dict[str, Callable[[str], None]] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)
    looked: bool = False  # whether this process has listed what lies in it
    put_files: int = 0
    put_bytes: int = 0

    @cached_property
    def store(self) -> ObjectStore:
        """Where it lies."""
        return ObjectStore.at(self.origin.url)

    @cached_property
    def here(self) -> CacheFolder:
        """The folder that stands for it."""
        return CacheFolder(self.origin.folder, self.origin.limit)

    def pull(self, below: str, put: bool) -> None:
        """Looks at what lies in the bucket, fetches what is small, and puts what is not there yet.

        A file here stays where it is the object's: what lies in the bucket counts.

        Args:
            below: the folder in the bucket that is looked at.
            put: whether files that an earlier run made and did not put are put now.

        Raises:
            UserError: the bucket is not there, refuses, or cannot be reached.
        """
        known = self.here.known()  # before the listing: what others put in between is in neither
        listed = {n: o for n, o in self.store.objects(below).items() if self._shared(n)}
        if self.looked:  # what processes that this one started have put
            new = [o for n, o in listed.items() if n not in self.there and known.get(n) == o]
            self._count(new)
        others = {n: o for n, o in self.there.items() if not _is_below(n, below)}
        self.there, self.looked = others | listed, True
        left = []
        for name, status in [*self.here.files(below)]:
            there = listed.get(name)
            if not self._shared(name):
                continue
            if there is None and name not in known:
                left.append(name)
            elif there is None or known.get(name) != there or status.st_size != there.size:
                self.here.drop(name)  # it was replaced in the bucket, or removed there
        small = (n for n in listed if Path(n).suffix in FETCHED and not LARGE.fullmatch(n))
        self.fetch([name for name in small if not self.here.path(name).exists()])
        if put and left:
            say(f"put        {len(left)} files that an earlier run left in {self.here.folder}")
            for name in sorted(left, key=_in_order):
                self.put(self.here.path(name))

    def put(self, path: Path) -> None:
        """Puts a file that is whole; one that does not belong there is passed over.

        Raises:
            UserError: the object was written meanwhile and is another; or as for `pull`.
        """
        name = self.here.name(path)
        if not self._shared(name):
            return
        known = self.there.get(name)
        if known and self.store.object(name) != known:
            raise self._meanwhile(name, path)
        self.here.note(name, None)  # this file is not that object
        try:
            made = self.store.put(path, name, new=known is None)
        except FileExistsError:
            made = self._accept(name, path)
        else:
            self._count([made])
        self._note(name, made)
        if LARGE.fullmatch(name):
            self.here.make_room(made.size, here=True)

    def fetch(self, names: Collection[str]) -> None:
        """Fetches objects; each file appears whole.

        Raises:
            UserError: an object is not as it was written, or is there no more.
        """
        if not names:
            return
        if large := sum(self.there[name].size for name in names if LARGE.fullmatch(name)):
            self.here.make_room(large, here=False)
        with self.here.part() as folder:
            folder.mkdir()
            parts = {name: folder / str(i) for i, name in enumerate(names)}
            self.store.get(parts)
            for name, part in parts.items():
                self._require_whole(name, part)
                path = self.here.path(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                part.replace(path)
                self._note(name, self.there[name])

    @contextmanager
    def opened(self, path: Path) -> Iterator[Path]:
        """A file that stays while the block runs, fetched where it lies in the bucket only."""
        name = self.here.name(path)
        while True:
            with self.here.staying(path):
                if path.exists() or name not in self.there:
                    yield path
                    return
            with self.locks.setdefault(name, threading.Lock()):  # several threads ask for one
                if not path.exists():
                    self.fetch([name])

    def discard(self, path: Path) -> None:
        """Removes a file or a folder, in the bucket first; records before what they seal."""
        name = self.here.name(path)
        names = [each for each in self.there if each == name or _is_below(each, name)]
        for each in sorted(names, key=_in_order, reverse=True):
            self.store.remove(each)
            del self.there[each]
            self.here.note(each, None)
        remove(path)

    def summary(self) -> str:
        """What was put, for people."""
        return f"put        {self.put_files:,} files, {size(self.put_bytes)}, to {self.origin.url}"

    def _count(self, put: Collection[Object]) -> None:
        self.put_files += len(put)
        self.put_bytes += sum(each.size for each in put)

    def _note(self, name: str, there: Object) -> None:
        self.there[name] = there
        self.here.note(name, there)

    def _shared(self, name: str) -> bool:
        """Whether a file belongs into the bucket: no lock, scratch or log, nothing half-made."""
        parts = name.split("/")
        if any(not part or part.startswith(".") or "\\" in part for part in parts):
            return False
        for output in self.origin.outputs:
            if _is_below(name, output):
                below = parts[output.count("/") + 1 if output else 0 :]
                return below[0] != "logs" and below[2:3] != ["scratch"]
        return True

    def _accept(self, name: str, path: Path) -> Object:
        """The object that another process put first. Raises UserError where it is another."""
        with self.here.part() as part:
            self.store.get({name: part})
            if not filecmp.cmp(part, path, shallow=False):
                if not FIRST_STAYS.fullmatch(name):
                    raise self._meanwhile(name, path)
                part.replace(path)
        there = self.store.object(name)
        if there is None:
            raise self._meanwhile(name, path)
        return there

    def _meanwhile(self, name: str, path: Path) -> UserError:
        return UserError(
            f"{self.store.said(name)} was written meanwhile, and is not what this process made "
            f"({path}): another process works there. Wait until it ends, and run this again."
        )

    def _require_whole(self, name: str, part: Path) -> None:
        wanted, found = self.there[name].size, part.stat().st_size
        if found != wanted:
            raise UserError(
                f"{self.store.said(name)} has {found:,} bytes, and had {wanted:,} when it was "
                "listed: it was replaced meanwhile. Run the same command again."
            )
        if compare := self.expected.get(name):
            with part.open("rb") as file:
                compare(hashlib.file_digest(file, "sha256").hexdigest())


def _is_below(name: str, folder: str) -> bool:
    """Whether a name is one in a folder; "" is the folder of all."""
    return not folder or name.startswith(f"{folder}/")


def _in_order(name: str) -> tuple[bool, int, str]:
    """Sorts what is put: records behind what they seal, the deeper first, a manifest last."""
    return name.endswith(".json"), -name.count("/"), name
