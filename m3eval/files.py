"""Writes files that appear whole or not at all; reads JSON; hashes files and values."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m3eval.errors import UserError
from m3eval.oserrors import writing


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to ``path`` when the block ends.

    If the block raises an exception, the temporary file is deleted and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with writing(path, temporary):
            yield temporary
            _to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Calls ``fill`` with a temporary folder, which is then renamed to ``path``.

    A temporary folder that a killed process left behind is removed first. ``path`` must not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with writing(path, temporary):
        fill(temporary)
        for file in temporary.iterdir():
            _to_disk(file)
        temporary.rename(path)


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


def _to_disk(path: Path) -> None:
    """Waits until a file is on disk: a rename must not get there before the bytes that it names."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
