"""Writes files that appear whole or not at all; reads JSON; hashes files and values.

What belongs into an object store is put there once it is whole: see `buckets`.

What is being written has a name of its process's own, `.{name}.{process}-{random}.part`: two
processes that write one file never write into each other's.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m3eval import buckets
from m3eval.errors import UserError
from m3eval.oserrors import writing

# The names of what is being written; early versions wrote no process.
PART = re.compile(r"\.(?P<name>.+?)(\.\d+-[0-9a-f]{8})?\.part")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to ``path`` when the block ends.

    If the block raises an exception, the temporary file is deleted and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with writing(path, temporary):
            yield temporary
            _to_disk(temporary)
            temporary.replace(path)
        buckets.put(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Calls ``fill`` with a temporary folder, which is then renamed to ``path``.

    If ``fill`` raises an exception, the temporary folder is deleted. Where another process was
    first, its folder stays, if it holds the same.

    Raises:
        UserError: another process was first, and its folder holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        with writing(path, temporary):
            fill(temporary)
            for file in temporary.rglob("*"):
                if file.is_file():
                    _to_disk(file)
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                _require_same(path, temporary)
        buckets.put(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path, names: Collection[str] | None = None) -> None:
    """Removes what dead processes were writing in a folder; only for whoever holds its lock.

    Args:
        folder: where to look; not below it.
        names: only what was to have one of these names; None: all.
    """
    for path in folder.glob(".*.part"):
        named = PART.fullmatch(path.name)
        if named is None or (names is not None and named["name"] not in names):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, with the keys in the order in which they are.

    Raises:
        ValueError: a number in it is not finite. JSON has none such, and readers die of them.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The values in a JSON file.

    Raises:
        UserError: it is no regular file, or holds no JSON.
        OSError: it is missing or cannot be read.
    """
    try:
        return parse_json(regular(path).read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON: {error}.") from error


def parse_json(content: bytes | str) -> Any:
    """The values in JSON text: UTF-8 with or without a byte order mark.

    Raises:
        ValueError: it is no JSON, is nested too deeply, has a number of too many digits or the same
            key twice. The message is part of a sentence.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError where a key occurs twice: either value could be meant."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def regular(path: Path) -> Path:
    """The path of a file that can be read more than once.

    Raises:
        UserError: it is a folder, or a pipe or a device, which would wait or never end.
        OSError: it is missing or cannot be reached.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder: a file is needed here.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a pipe or a device: put what it gives into a file first.")
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """The SHA-256 of a value as JSON. It does not depend on the order of keys."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _require_same(there: Path, made: Path) -> None:
    """Raises UserError where two folders hold other files, or others of the same name."""
    for name in sorted({file.name for folder in (there, made) for file in folder.iterdir()}):
        with buckets.opened(there / name) as file:
            both = file.exists() and (made / name).exists()
            if both and filecmp.cmp(file, made / name, shallow=False):
                continue
        raise UserError(
            f"{there} was written by another process while this one (process {os.getpid()}) made "
            f"it too, and {name} is not the same in both: they were told different things. "
            "Let only one of them run, and run it again."
        )


def _to_disk(path: Path) -> None:
    """Waits until a file is on disk: a rename must not get there before the bytes that it names."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
