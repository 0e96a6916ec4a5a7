"""Readers of the file formats of corpora, queries and judgements.

All of them raise a UserError that names the file and the line where a file is missing, malformed or
damaged.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from m3eval.benchmarks.task import Document, Query
from m3eval.errors import UserError

Row = tuple[str, dict[str, Any]]  # where it stands (for messages), and its fields by name


def read_documents(*paths: Path) -> Iterator[Document]:
    """The documents of JSON-lines files (plain or .gz) or parquet files, one file after the other.

    A document has the fields `docid` (or `_id`, or `id`), `text` and, if it has one, `title`.
    """
    for path in paths:
        for where, row in parquet_rows(path) if path.suffix == ".parquet" else json_rows(path):
            docid = field(row, where, "docid", "_id", "id")
            title, text = row.get("title") or "", field(row, where, "text")
            yield Document(str(docid), str(title), str(text))


def read_queries(path: Path) -> list[Query]:
    """The queries of a .tsv file (qid TAB text) or of a JSON-lines file (plain or .gz).

    In JSON a query has the fields `qid` (or `query_id`, `_id`, `id`) and `text` (or `query`).
    Ids are not checked here: `TextSet.census` does that.
    """
    if ".jsonl" in path.suffixes:
        return [
            Query(
                str(field(row, where, "qid", "query_id", "_id", "id")),
                str(field(row, where, "text", "query")),
            )
            for where, row in json_rows(path)
        ]
    queries = []
    for where, line in _lines(path):
        qid, tab, text = line.partition("\t")
        if not tab:
            raise UserError(f"{where}: expected 'qid TAB text', got {line[:80]!r}.")
        queries.append(Query(qid, text))
    return queries


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements in TREC's four columns, or in BEIR's three with a header line.

    Returns:
        qid -> docid -> grade.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, (where, line) in enumerate(_lines(path)):
        columns = line.split()
        if len(columns) == 3 and number == 0 and not columns[2].lstrip("-").isdigit():
            continue  # BEIR's header
        if len(columns) not in (3, 4) or not columns[-1].lstrip("-").isdigit():
            raise UserError(
                f"{where}: expected 'qid 0 docid grade' or 'qid docid grade', got {line[:80]!r}."
            )
        qrels.setdefault(columns[0], {})[columns[-2]] = int(columns[-1])
    return qrels


def read_answers(path: Path) -> dict[str, list[str]]:
    """Answer strings by qid, from a JSON-lines file with the fields `qid` and `answers`."""
    answers = {}
    for where, row in json_rows(path):
        strings = field(row, where, "answers")
        if not isinstance(strings, list):
            raise UserError(f"{where}: 'answers' must be a list of strings, got {strings!r}.")
        answers[str(field(row, where, "qid", "_id", "id"))] = [str(string) for string in strings]
    return answers


def json_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSON-lines file (plain or .gz)."""
    return _objects(_lines(path))


def zipped_json_rows(path: Path, name: str) -> Iterator[Row]:
    """The objects of the JSON-lines file `name` in a zip archive, whatever its folder there."""
    try:
        with zipfile.ZipFile(path) as archive:
            # An archive that was made on a Mac also has a shadow of every file in __MACOSX.
            names = [entry for entry in archive.namelist() if not entry.startswith("__MACOSX/")]
            matches = [entry for entry in names if entry.rpartition("/")[2] == name]
            if len(matches) != 1:
                raise UserError(
                    f"{path} has {len(matches)} files {name}, expected one; it holds "
                    f"{', '.join(sorted(names))}."
                )
            with io.TextIOWrapper(archive.open(matches[0]), encoding="utf-8") as file:
                yield from _objects(_numbered(f"{path}:{matches[0]}", file))
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def parquet_rows(
    path: Path, columns: Sequence[str] | None = None, at_once: int = 1024
) -> Iterator[Row]:
    """The rows of a parquet file.

    Args:
        path: the file.
        columns: the names of those to read; a field of a nested column is named like
            ``document.text``. None reads all.
        at_once: the number of rows in memory at a time.
    """
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(
                batch_size=at_once, columns=list(columns) if columns else None
            ):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def field(row: Mapping[str, Any], where: str, *names: str) -> Any:
    """The value of the first of these fields that the row has and that is not null.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise UserError(f"{where}: needs a field {' or '.join(map(repr, names))}, has {sorted(row)}.")


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with _open(path) as file:
            yield from _numbered(str(path), file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _numbered(name: str, file: TextIO) -> Iterator[tuple[str, str]]:
    """The lines that are not empty, each with its file and number.

    A line loses its line end and keeps all other white space.
    """
    # str.splitlines would not do: it also splits at U+2028 and the like inside a text.
    for number, line in enumerate(file, start=1):
        if line := line.rstrip("\r\n"):
            yield f"{name}, line {number}", line


def _objects(lines: Iterable[tuple[str, str]]) -> Iterator[Row]:
    for where, line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: expected a JSON object, got {line[:80]!r}.")
        yield where, row


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged or cut short ({error}): fetch it again.")
