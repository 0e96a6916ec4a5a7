"""Writes files that appear whole or not at all; reads JSON; hashes files and values."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to ``path`` when the block ends.

    If the block raises an exception, the temporary file is deleted and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
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
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


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
