"""Readers of the file formats of corpora, queries and answers; `qrels.py` reads judgements.

All of them raise a UserError that names the file and the line where a file is missing, malformed or
damaged. `published` tells whether the files came from the hub; fetching them again is the remedy
then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from m3eval.benchmarks.fields import clean, identifier, optional_text, shown, strings, text
from m3eval.benchmarks.task import Document, Query
from m3eval.errors import UserError
from m3eval.files import regular
from m3eval.textfiles import Row, damaged, json_rows, lines

QID = ("qid", "query_id", "_id", "id")  # names of a query's id in JSON
# What the columns of queries.tsv are called where a header line names them, in lower case.
QUERY_HEADER = (
    {"qid", "query-id", "query_id", "queryid", "topic", "topic_id", "id", "_id"},
    {"text", "query", "question", "query_text"},
)


def read_documents(*paths: Path, published: bool = False) -> Iterator[Document]:
    """The documents of JSON-lines files (plain or .gz) or parquet files, one file after the other.

    A document has the fields `docid` (or `_id`, or `id`), `text` and, if it has one, `title`.
    """
    for path in paths:
        rows = parquet_rows if path.suffix == ".parquet" else json_rows
        for where, row in rows(path, published=published):
            yield Document(
                identifier(row, where, "docid", "_id", "id"),
                optional_text(row, where, "title", published),
                text(row, where, "text", published=published),
            )


def read_queries(path: Path, published: bool = False) -> list[Query]:
    """The queries of a .tsv file (qid TAB text) or of a JSON-lines file, plain or .gz.

    In JSON a query has the fields `qid` (or `query_id`, `_id`, `id`) and `text` (or `query`). A
    first line of a .tsv file that names its columns is skipped. That ids are unique and fit for run
    files is not checked here: `TextSet.census` does that.
    """
    if ".jsonl" in path.suffixes:
        return [
            Query(
                identifier(row, where, *QID),
                text(row, where, "text", "query", published=published),
            )
            for where, row in json_rows(path, published)
        ]
    queries = []
    for number, (where, line) in enumerate(lines(path, published)):
        qid, tab, words = line.partition("\t")
        if not tab:
            raise UserError(f"{where}: expected 'qid TAB text', got {line[:80]!r}.")
        if number or not is_header((qid, words), QUERY_HEADER):
            queries.append(Query(clean(qid, where, "qid"), words))
    return queries


def is_header(columns: Sequence[str], names: Sequence[set[str]]) -> bool:
    """Whether every column has one of the names that it may have in a header line."""
    return all(
        column.strip().lower() in allowed for column, allowed in zip(columns, names, strict=True)
    )


def read_answers(path: Path) -> dict[str, list[str]]:
    """Answer strings by qid, from a JSON-lines file with the fields `qid` and `answers`.

    Raises:
        UserError: a query has two lines with different answers, or there is no line.
    """
    answers: dict[str, list[str]] = {}
    first: dict[str, str] = {}  # qid -> where it stands
    for where, row in json_rows(path):
        qid, found = identifier(row, where, *QID), strings(row, where, "answers")
        if answers.setdefault(qid, found) != found:
            raise UserError(
                f"{where}: other answers to {shown(qid)} than in {first[qid]}: leave one out."
            )
        first.setdefault(qid, where)
    if not answers:
        raise UserError(f"{path} has no answers: a line has a query's qid and its answers.")
    return answers


def parquet_rows(
    path: Path,
    columns: Sequence[str] | None = None,
    at_once: int = 1024,
    published: bool = False,
) -> Iterator[Row]:
    """The rows of a parquet file.

    Args:
        path: the file.
        columns: the names of those to read; a field of a nested column is named like
            ``document.text``. None reads all.
        at_once: the number of rows in memory at a time.
        published: whether it came from the hub.
    """
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(regular(path)) as file:
            for batch in file.iter_batches(
                batch_size=at_once, columns=list(columns) if columns else None
            ):
                rows: list[dict[str, Any]] = batch.to_pylist()
                for row in rows:
                    number += 1
                    yield f"{path}, row {number}", row
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    # Of strings that are no UTF-8, to_pylist has Python's error.
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(path, error, published) from error
