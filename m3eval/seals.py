"""Seals: how long a file was when it was written, and its SHA-256. Damage is seen by them later.

Sizes are compared whenever a file is opened. Hashes are compared once per process, and again where
the file has another size or time of change since.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from m3eval import buckets
from m3eval.errors import UserError
from m3eval.files import digest, sha256
from m3eval.oserrors import pass_on


class Damaged(UserError):
    """A file is not as it was written.

    Args:
        path: the file.
        found: what it is now, against what was written.
        remedy: the command that makes it again.
    """

    def __init__(self, path: Path, found: str, remedy: str) -> None:
        super().__init__(f"{path} is damaged: {found}. {remedy}")
        self.path = path


@dataclass(frozen=True)
class Seal:
    """A file as it was written."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Seal:
        """The seal of a file that was just written."""
        return cls(path.stat().st_size, sha256(path))


Seals = dict[str, Seal]  # by file name
_compared: dict[Path, tuple[os.stat_result, str]] = {}  # files whose hash this process knows


def check_size(path: Path, seal: Seal, remedy: str) -> os.stat_result | None:
    """What the system says of a file that has the size it was written with.

    None: it lies in an object store only.

    Raises:
        Damaged: it is missing, no regular file, or shorter or longer.
    """
    status, bytes_there = None, buckets.elsewhere(path)
    if bytes_there is None:
        try:
            status = path.stat()
        except OSError as error:
            pass_on(error)
            raise Damaged(path, f"it cannot be read ({error.strerror})", remedy) from error
        if not path.is_file():
            raise Damaged(path, "it is no file", remedy)
        bytes_there = status.st_size
    if bytes_there != seal.bytes:
        found = f"{bytes_there:,} bytes, {seal.bytes:,} were written"
        raise Damaged(path, found, remedy)
    return status


def check(path: Path, seal: Seal, remedy: str) -> None:
    """Compares size and hash of a file with its seal; the hash once per process.

    The hash of a file that lies in an object store only is compared once it is fetched.

    Raises:
        Damaged: the file is not as it was written.
    """
    status = check_size(path, seal, remedy)
    if status is None:
        buckets.compare_once_fetched(path, partial(_compare, path, seal, remedy))
        return
    known, digest = _compared.get(path, (None, ""))
    if known is None or _changed(known, status):
        try:
            digest = sha256(path)
        except OSError as error:
            pass_on(error)
            raise Damaged(path, f"it cannot be read ({error.strerror})", remedy) from error
        _compared[path] = (status, digest)
    _compare(path, seal, remedy, digest)


def _compare(path: Path, seal: Seal, remedy: str, digest: str) -> None:
    if digest != seal.sha256:
        found = f"its SHA-256 is {digest[:12]}, {seal.sha256[:12]} was written"
        raise Damaged(path, found, remedy)


def check_all(folder: Path, seals: Mapping[str, Seal], remedy: str) -> None:
    """Compares the files of a folder with their seals. Raises Damaged at the first that differs."""
    for name, seal in seals.items():
        check(folder / name, seal, remedy)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a record with `sealed`, the digest of all others, at the end."""
    others = {key: value for key, value in content.items() if key != "sealed"}
    return others | {"sealed": digest(others)}


def check_sealed(path: Path, content: Mapping[str, Any], remedy: str) -> bool:
    """Whether a record's file, whose plain values these are, is sealed; then it is as written.

    Raises:
        Damaged: it is sealed, and not as it was written.
    """
    if "sealed" not in content:
        return False
    if sealed(content)["sealed"] != content["sealed"]:
        raise Damaged(path, "what it says is not what was written", remedy)
    return True


def _changed(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ino) != (
        now.st_size,
        now.st_mtime_ns,
        now.st_ino,
    )
