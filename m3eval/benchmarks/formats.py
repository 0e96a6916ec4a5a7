"""Readers of the file formats in which corpora, queries and judgements come. Every error names file and line."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow
import pyarrow.parquet

from m3eval.benchmarks.task import Document, Query
from m3eval.errors import UserError


def read_documents(path: Path) -> Iterator[Document]:
    """Documents of a JSON-lines (plain or .gz) or parquet file with `docid`, `_id` or `id`, `text` and, if any, `title`."""
    for where, row in parquet_rows(path) if path.suffix == ".parquet" else json_rows(path):
        docid = _first(row, ("docid", "_id", "id"), where)
        yield Document(str(docid), str(row.get("title") or ""), str(_first(row, ("text",), where)))


def read_queries(path: Path) -> list[Query]:
    """Queries of a .tsv file (qid TAB text) or a .jsonl file (`qid`, `query_id`, `_id` or `id`, and `text` or `query`).

    Raises:
        UserError: a line is malformed. Whether ids are fit and unique is for `TextSet.census` to say.
    """
    if ".jsonl" in path.suffixes:
        found = [
            Query(
                str(_first(row, ("qid", "query_id", "_id", "id"), where)),
                str(_first(row, ("text", "query"), where)),
            )
            for where, row in json_rows(path)
        ]
    else:
        found = []
        for where, line in _lines(path):
            qid, tab, text = line.partition("\t")
            if not tab:
                raise UserError(f"{where}: expected 'qid TAB text', got {line[:80]!r}.")
            found.append(Query(qid, text))
    return found


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements: TREC's four columns, or BEIR's three with their header line. Returns qid -> docid -> grade."""
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
    """Answer strings of a JSON-lines file with `qid` and `answers`."""
    answers = {}
    for where, row in json_rows(path):
        strings = _first(row, ("answers",), where)
        if not isinstance(strings, list):
            raise UserError(f"{where}: 'answers' must be a list of strings, got {strings!r}.")
        answers[str(_first(row, ("qid", "_id", "id"), where))] = [str(string) for string in strings]
    return answers


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file (plain or .gz), with a name for each that says where it stands."""
    return _objects(_lines(path))


def zipped_json_rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of the JSON-lines file `name` in a zip archive, in whatever folder of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Archives made on a Mac hold a shadow of every file in __MACOSX.
            there = [entry for entry in archive.namelist() if not entry.startswith("__MACOSX/")]
            found = [entry for entry in there if entry.rpartition("/")[2] == name]
            if len(found) != 1:
                raise UserError(
                    f"{path} has {len(found)} files {name}, expected one; it holds {', '.join(sorted(there))}."
                )
            with io.TextIOWrapper(archive.open(found[0]), encoding="utf-8") as file:
                yield from _objects(_numbered(f"{path}:{found[0]}", file))
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def parquet_rows(
    path: Path, columns: Sequence[str] | None = None, at_once: int = 1024
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a parquet file, with a name for each.

    Args:
        path: the file.
        columns: which to read, a field of a nested one as ``document.text``; None for all.
        at_once: rows in memory at a time.
    """
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


def _open(path: Path) -> TextIO:
    return (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8")
    )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with _open(path) as file:
            yield from _numbered(str(path), file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _numbered(name: str, file: TextIO) -> Iterator[tuple[str, str]]:
    """Non-empty lines with a name for each, without their line end (but with other white space kept)."""
    # Not str.splitlines: it would also split at U+2028 and the like inside a text.
    for number, line in enumerate(file, start=1):
        if line := line.rstrip("\r\n"):
            yield f"{name}, line {number}", line


def _objects(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _first(row: dict[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise UserError(f"{where}: needs a field {' or '.join(map(repr, names))}, has {sorted(row)}.")
