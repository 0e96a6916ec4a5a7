"""Text files of others, line by line: UTF-8 with or without a byte order mark, plain or .gz.

Whatever is wrong with a file ends in one sentence with its path and, where there is one, the line.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from m3eval.errors import UserError
from m3eval.files import parse_json, regular

LONGEST = 32_000_000  # bytes of a line; a long book has 5 million
BOM = b"\xef\xbb\xbf"
# How files begin that are no UTF-8 but are taken for it.
OTHERS = {
    b"\x1f\x8b": "it is compressed by gzip: give its name the ending .gz",
    b"PK\x03\x04": "it is a zip archive: unpack it",
    b"\xff\xfe": "it is UTF-16: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16: save it as UTF-8",
}

Line = tuple[str, str]  # where it stands, for messages; and its text
Row = tuple[str, dict[str, Any]]  # where it stands, and its fields by name


def lines(path: Path, published: bool = False) -> Iterator[Line]:
    """The lines of a file that are not empty.

    A line loses its line end and keeps all other white space.

    Args:
        path: the file; one whose name ends in .gz is unpacked.
        published: whether it came from the hub, so that fetching it again is the remedy.

    Raises:
        UserError: the file is missing, no regular file, damaged, or a line is not valid.
    """
    try:
        with regular(path).open("rb") as file:
            if path.suffix != ".gz":
                yield from numbered(str(path), file)
                return
            with gzip.open(file) as unpacked:
                yield from numbered(str(path), unpacked)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, error, published) from error


def numbered(name: str, file: IO[bytes] | gzip.GzipFile) -> Iterator[Line]:
    """The lines of an open file that are not empty, each with its file and number.

    Raises:
        UserError: a line is too long, no UTF-8, or has a character that no text has.
    """
    # str.splitlines would not do: it also splits at U+2028 and the like inside a text.
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        where = f"{name}, line {number}"
        if len(line) > LONGEST:
            raise UserError(
                f"{where}: longer than {LONGEST:,} bytes, the most that a line may have: write one "
                "document or query a line."
            )
        if number == 1:
            for beginning, what in OTHERS.items():
                if line.startswith(beginning):
                    raise UserError(f"{name} is no text in UTF-8: {what}.")
            line = line.removeprefix(BOM)
        if not (line := line.rstrip(b"\r\n")):
            continue
        for byte, what in ((b"\0", "a NUL character"), (b"\r", "a carriage return")):
            if byte in line:
                raise UserError(
                    f"{where}: has {what} at byte {line.index(byte) + 1}, so this is no line of "
                    "text: save the file as UTF-8 with line feeds."
                )
        try:
            yield where, line.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{where}: byte {error.start + 1} is no UTF-8 ({error.reason}): save the file as "
                "UTF-8."
            ) from error


def json_rows(path: Path, published: bool = False) -> Iterator[Row]:
    """The objects of a JSON-lines file, plain or .gz; see `lines`."""
    return _objects(lines(path, published))


def zipped_json_rows(path: Path, name: str, published: bool = False) -> Iterator[Row]:
    """The objects of the JSON-lines file `name` in a zip archive, whatever its folder there.

    Raises:
        UserError: the archive is missing or damaged, or has not one such file; see `lines`.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            # An archive that was made on a Mac also has a shadow of every file in __MACOSX.
            names = [entry for entry in archive.namelist() if not entry.startswith("__MACOSX/")]
            matches = [entry for entry in names if entry.rpartition("/")[2] == name]
            if len(matches) != 1:
                raise UserError(
                    f"{path} has {len(matches)} files {name}, expected one; it holds "
                    f"{', '.join(sorted(names))}."
                )
            with archive.open(matches[0]) as file:
                yield from _objects(numbered(f"{path}:{matches[0]}", file))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    # A RuntimeError: it wants a password, or is compressed in a way that Python does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise damaged(path, error, published) from error


def damaged(path: Path, error: Exception, published: bool) -> UserError:
    """What is said of a file whose bytes are not whole."""
    remedy = "fetch it again" if published else "make it again, or restore a copy"
    return UserError(f"{path} is damaged or cut short ({error}): {remedy}.")


def _objects(lines: Iterable[Line]) -> Iterator[Row]:
    for where, line in lines:
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{where}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: expected a JSON object, got {line[:80]!r}.")
        yield where, row
