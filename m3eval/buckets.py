"""Where files lie that are written here and belong into an object store: what all others ask.

Every function takes a path of this machine. Below a folder that stands for a bucket, `put`,
`opened` and `discard` also do in the bucket what is done here; elsewhere they do nothing more.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from m3eval.bucket import Bucket, Origin
from m3eval.cached import remove
from m3eval.console import say, size
from m3eval.errors import UserError
from m3eval.remote import ObjectStore, is_url

LIMIT = 50_000_000_000  # bytes of shards that stay here; runtime.cache_gb
# Below an encoder's folder: what is asked about one of these is also read from beside it.
PARTS = re.compile(r"/(?:stores|runs|scores|comparison|gate)(?:/.*)?$")
_buckets: dict[Path, Bucket] = {}  # by the folder that stands for each


def default_cache() -> Path:
    """The folder of all folders that stand for buckets, unless another is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "m3eval"


def output(url: str, cache: Path, limit: int, below: str) -> Path:
    """The folder of this machine that is written into in place of a URL.

    Args:
        url: what `output_dir` says.
        cache: the folder of all such folders.
        limit: bytes of large files that stay here.
        below: the folder in it that is read or written.

    Raises:
        UserError: the bucket is not there, refuses, or cannot be reached.
    """
    bucket, inside = _of_url(url, cache, limit, written=True)
    bucket.pull(f"{inside}/{below}" if inside else below, put=True)
    return bucket.here.path(inside)


def place(word: str) -> Path:
    """The path that a word names: a file or folder here, or what stands for a URL, as it is now.

    Raises:
        UserError: as for `output`.
    """
    if not is_url(word):
        return Path(word).expanduser()
    bucket, inside = _of_url(word, default_cache(), LIMIT, written=False)
    bucket.pull(PARTS.sub("", inside), put=False)
    return bucket.here.path(inside)


def look_again(folder: Path) -> None:
    """Sees what others put into a folder meanwhile, and puts what is here and not there yet."""
    if bucket := _of(folder):
        bucket.pull(bucket.here.name(folder), put=True)


def put(path: Path) -> None:
    """Puts a file, or the files of a folder, that just appeared.

    Raises:
        UserError: as for `Bucket.put`. What was made stays here, and the next run puts it.
    """
    if bucket := _of(path):
        files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
        for file in sorted(files, key=lambda file: (file.suffix == ".json", file.name)):
            bucket.put(file)


def discard(path: Path) -> None:
    """Removes a file or folder, if it is there, and its objects."""
    if bucket := _of(path):
        bucket.discard(path)
    else:
        remove(path)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A file to be opened while the block runs; it is fetched where it lies in a bucket only."""
    if bucket := _of(path):
        with bucket.opened(path):
            yield path
    else:
        yield path


def elsewhere(path: Path) -> int | None:
    """The bytes of a file that lies in a bucket only; None: it is here, or nowhere."""
    if (bucket := _of(path)) and not path.exists():
        there = bucket.there.get(bucket.here.name(path))
        return there.size if there else None
    return None


def sizes_below(folder: Path) -> dict[Path, int]:
    """The bytes of every file below a folder, also of those that lie in a bucket only."""
    here = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if bucket := _of(folder):
        there = {bucket.here.path(name): each.size for name, each in bucket.there.items()}
        return {path: n for path, n in there.items() if path.is_relative_to(folder)} | here
    return here


def compare_once_fetched(path: Path, compare: Callable[[str], None]) -> None:
    """Has the SHA-256 of a file looked at when it is fetched: see `elsewhere`."""
    if bucket := _of(path):
        bucket.expected[bucket.here.name(path)] = compare


def origin_of(path: Path) -> Origin | None:
    """What another process must be given that writes there; None: it is a folder like others."""
    bucket = _of(path)
    return bucket.origin if bucket else None


def register(origin: Origin | None) -> None:
    """Lets this process write into a folder that stands for a bucket, as another one does."""
    if origin and origin.folder not in _buckets:
        _buckets[origin.folder] = Bucket(origin)


def summaries() -> list[str]:
    """What this process has put since it was asked last, a line for each bucket."""
    lines = [bucket.summary() for bucket in _buckets.values() if bucket.put_files]
    for bucket in _buckets.values():
        bucket.put_files = bucket.put_bytes = 0
    return lines


def _of(path: Path) -> Bucket | None:
    return next((each for root, each in _buckets.items() if path.is_relative_to(root)), None)


def _of_url(url: str, cache: Path, limit: int, written: bool) -> tuple[Bucket, str]:
    """The bucket of a URL, and the name of the folder in it."""
    scheme, _, rest = url.partition("://")
    name, _, inside = rest.strip("/").partition("/")
    store = ObjectStore.at(f"{scheme}://{name}")
    if inside and any(part.startswith(".") or not part for part in inside.split("/")):
        raise UserError(f"{url}: no part of the path may be empty or begin with a dot.")
    digest = hashlib.sha256(store.url.encode()).hexdigest()[:8]
    folder = cache.resolve() / f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}-{digest}"
    new = folder not in _buckets
    register(Origin(store.url, folder, limit))
    bucket = _buckets[folder]
    if written:
        outputs = bucket.origin.outputs | {inside}
        bucket.origin = replace(bucket.origin, limit=limit, outputs=outputs)
        bucket.here.limit = limit
    if new:
        most = f"; of shards, at most {size(limit)} stay there"
        say(f"objects    {store.url}, by way of {folder}{most}")
    return bucket, inside
