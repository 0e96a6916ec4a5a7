"""Text files of others, line by line: UTF-8 with or without a byte order mark, plain, .gz or .zst.

Whatever is wrong with a file ends in one sentence with its path and, where there is one, the line.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from m3eval.errors import UserError
from m3eval.files import parse_json, regular

LONGEST = 32_000_000  # bytes of a line; a long book has 5 million
BOM = b"\xef\xbb\xbf"
# How files begin that are no UTF-8 but are taken for it.
OTHERS = {
    b"\x1f\x8b": "it is compressed by gzip: give its name the ending .gz",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd: give its name the ending .zst",
    b"PK\x03\x04": "it is a zip archive: unpack it",
    b"\xff\xfe": "it is UTF-16: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16: save it as UTF-8",
}

Line = tuple[str, str]  # where it stands, for messages; and its text
Row = tuple[str, dict[str, Any]]  # where it stands, and its fields by name
# A row that may be passed by, as only who asks for it has it parsed: about its characters, the same
# at every reading; the row, or a UserError where it is malformed; all that is read of it. A plain
# tuple, for one is made of every row of a corpus.
Unparsed = tuple[int, Callable[[], Row], Callable[[], bytes]]


class Fields(NamedTuple):
    """What is wanted of the rows of a table, whose columns have names."""

    read: Sequence[str]  # those columns; a reader of text reads all
    counted: Sequence[str] = ()  # whose characters are the size of a row


Choose = Callable[[Sequence[str]], Fields]  # of the names of all columns, which are wanted


def all_fields(names: Sequence[str]) -> Fields:
    """Every column, for rows that nobody passes by."""
    return Fields(names)


def lines(path: Path, published: bool = False) -> Iterator[Line]:
    """The lines of a file that are not empty.

    A line loses its line end and keeps all other white space.

    Args:
        path: the file; one whose name ends in .gz or .zst is unpacked.
        published: whether it came from the hub, so that fetching it again is the remedy.

    Raises:
        UserError: the file is missing, no regular file, damaged, or a line is not valid.
    """
    with opened(path, published) as file:
        yield from numbered(str(path), file)


def content(path: Path) -> bytes:
    """All bytes of a file, unpacked where its name ends in .gz or .zst.

    Raises:
        UserError: the file is missing, no regular file or damaged.
    """
    with opened(path, published=False) as file:
        return file.read()


@contextmanager
def opened(path: Path, published: bool) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked.

    Raises:
        UserError: it cannot be read, which is found here or while it is.
    """
    try:
        with regular(path).open("rb") as file:
            if path.suffix == ".gz":
                with gzip.open(file) as unpacked:
                    yield cast(IO[bytes], unpacked)
            elif path.suffix == ".zst":
                with _unpacked(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, error, published) from error


@contextmanager
def _unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """What zstd packed, by pyarrow. Raises EOFError, as gzip does, where it is not whole."""
    import pyarrow

    with pyarrow.CompressedInputStream(file, "zstd") as stream:
        try:
            yield cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, stream)))
        except OSError as error:
            if error.errno is not None:  # the system's
                raise
            raise EOFError(str(error)) from error


def numbered(name: str, file: IO[bytes] | gzip.GzipFile) -> Iterator[Line]:
    """The lines of an open file that are not empty, each with its file and number.

    Raises:
        UserError: a line is too long, no UTF-8, or has a character that no text has.
    """
    return (
        (where, text) for where, line in whole_lines(name, file) if (text := line.rstrip("\r\n"))
    )


def whole_lines(name: str, file: IO[bytes] | gzip.GzipFile) -> Iterator[Line]:
    """All lines of an open file with their ends, each with its file and number.

    Raises:
        UserError: see `numbered`.
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
        text = line.rstrip(b"\r\n")
        for byte, what in ((b"\0", "a NUL character"), (b"\r", "a carriage return")):
            if byte in text:
                raise UserError(
                    f"{where}: has {what} at byte {text.index(byte) + 1}, so this is no line of "
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
    """The objects of a JSON-lines file, plain or packed; see `lines`."""
    return _objects(lines(path, published))


def unparsed_json(
    path: Path, published: bool = False, choose: Choose = all_fields
) -> Iterator[Unparsed]:
    """The same, of which a line that is passed by is not parsed; its size is that of the line."""
    for where, line in lines(path, published):
        yield len(line), partial(_row, where, line), line.encode


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
    return (_row(where, line) for where, line in lines)


def _row(where: str, line: str) -> Row:
    return where, json_object(where, line)


def json_object(where: str, line: str) -> dict[str, Any]:
    """The object that a line holds. Raises UserError where it holds none."""
    try:
        row = parse_json(line)
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, got {line[:80]!r}.")
    return row
