"""Readers of the file formats of corpora, queries and answers; `qrels.py` reads judgements.

All of them raise a UserError that names the file and the line where a file is missing, malformed or
damaged. `published` tells whether the files came from the hub; fetching them again is the remedy
then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from m3eval.benchmarks.fields import clean, identifier, optional_text, shown, strings, text
from m3eval.benchmarks.task import Document, Query, Unread
from m3eval.errors import UserError
from m3eval.files import regular
from m3eval.oserrors import pass_on
from m3eval.textfiles import Row, column_rows, damaged, json_object, json_rows, lines

# Names of fields, in the order in which they count.
DOCID = ("docid", "_id", "id", "doc_id", "corpus-id", "corpus_id")
TEXT = ("text", "contents")
QID = ("qid", "query_id", "_id", "id", "query-id")
QUERY = ("text", "query", "question")
# What the columns of queries.tsv are called where a header line names them, in lower case.
QUERY_HEADER = (
    {"qid", "query-id", "query_id", "queryid", "topic", "topic_id", "id", "_id"},
    {"text", "query", "question", "query_text"},
)
BUFFER = 2**20  # bytes of a parquet file's column that are read ahead
PACKED = ("", ".gz", ".zst")
# Ending of a name -> reader of rows. Text is read here and not by `datasets`, which makes a date or
# a number of a string that looks like one.
TEXTS = {
    ending + packed: reader
    for ending, reader in (
        (".jsonl", json_rows),
        (".json", json_rows),
        (".ndjson", json_rows),
        (".csv", column_rows),
        (".tsv", column_rows),
    )
    for packed in PACKED
}
ENDINGS = (*TEXTS, ".parquet", ".arrow")


def ending(path: Path) -> str | None:
    """Which of `ENDINGS` a file's name has; None: none."""
    return next((each for each in ENDINGS if path.name.endswith(each)), None)


def rows(path: Path, published: bool = False) -> Iterator[Row]:
    """The rows of a file, as its ending says: each with its place and its fields by name.

    Raises:
        UserError: the file is missing, damaged or malformed, or its ending says nothing.
    """
    kind = ending(path)
    if kind is None:
        raise UserError(f"{path}: the ending is none of {', '.join(ENDINGS)}.")
    if kind in TEXTS:
        return TEXTS[kind](path, published)
    return arrow_rows(path, published) if kind == ".arrow" else parquet_rows(path, None, published)


def read_documents(*paths: Path, published: bool = False) -> Iterator[Document]:
    """The documents of files of rows, one file after the other.

    A document has an id (`DOCID`), a text (`TEXT`) and, if it has one, a `title`.
    """
    return (each.document() for each in unread_documents(*paths, published=published))


def unread_documents(*paths: Path, published: bool = False) -> Iterator[Unread]:
    """The documents of `read_documents`, which may be skipped.

    A line of JSON that is skipped is not parsed, and its size is that of the line. Rows of other
    files are parsed in any case.
    """
    for path in paths:
        if TEXTS.get(ending(path) or "") is json_rows:
            for where, line in lines(path, published):
                yield Unread(len(line), partial(_of_line, where, line, published), line)
        else:
            for where, row in rows(path, published):
                document = _document(where, row, published)
                yield Unread(len(document.title) + len(document.text), partial(_same, document))


def _same(document: Document) -> Document:
    return document


def _of_line(where: str, line: str, published: bool) -> Document:
    return _document(where, json_object(where, line), published)


def _document(where: str, row: dict[str, Any], published: bool) -> Document:
    return Document(
        identifier(row, where, *DOCID),
        optional_text(row, where, "title", published),
        text(row, where, *TEXT, published=published),
    )


def read_queries(*paths: Path, published: bool = False) -> list[Query]:
    """The queries of .tsv files (qid TAB text) or of other files of rows.

    A row has an id (`QID`) and a text (`QUERY`). A first line of a .tsv file that names its columns
    is skipped. That ids are unique and fit for run files is not checked here: `TextSet.census` does
    that.
    """
    return [query for path in paths for query in _queries(path, published)]


def _queries(path: Path, published: bool) -> Iterator[Query]:
    if ".tsv" not in path.suffixes:
        for where, row in rows(path, published):
            yield Query(identifier(row, where, *QID), text(row, where, *QUERY, published=published))
        return
    for number, (where, line) in enumerate(lines(path, published)):
        qid, tab, words = line.partition("\t")
        if not tab:
            raise UserError(f"{where}: expected 'qid TAB text', got {line[:80]!r}.")
        if number or not is_header((qid, words), QUERY_HEADER):
            yield Query(clean(qid, where, "qid"), words)


def is_header(columns: Sequence[str], names: Sequence[set[str]]) -> bool:
    """Whether every column has one of the names that it may have in a header line."""
    return all(
        column.strip().lower() in allowed for column, allowed in zip(columns, names, strict=True)
    )


def read_answers(*paths: Path) -> dict[str, list[str]]:
    """Answer strings by qid, from files of rows with the fields `qid` and `answers`.

    Raises:
        UserError: a query has two rows with different answers, or there is no row.
    """
    answers: dict[str, list[str]] = {}
    first: dict[str, str] = {}  # qid -> where it stands
    for where, row in (each for path in paths for each in rows(path)):
        qid, found = identifier(row, where, *QID), strings(row, where, "answers")
        if answers.setdefault(qid, found) != found:
            raise UserError(
                f"{where}: other answers to {shown(qid)} than in {first[qid]}: leave one out."
            )
        first.setdefault(qid, where)
    if not answers:
        raise UserError(f"{paths[0]} has no answers: a line has a query's qid and its answers.")
    return answers


def parquet_rows(
    path: Path,
    columns: Sequence[str] | None = None,
    published: bool = False,
    at_once: int = 1024,
) -> Iterator[Row]:
    """The rows of a parquet file.

    pyarrow reads them and not `datasets`, which needs three times the memory, five times as long,
    and holds a whole row group, of a million rows perhaps, unless it is told otherwise.

    Args:
        path: the file.
        columns: the names of those to read; a field of a nested column is named like
            ``document.text``. None reads all.
        published: whether it came from the hub.
        at_once: the number of rows in memory at a time.
    """
    import pyarrow.parquet

    try:
        # By default a column of a row group, which may be all texts there are, is read at once.
        with pyarrow.parquet.ParquetFile(
            regular(path), buffer_size=BUFFER, pre_buffer=False
        ) as file:
            wanted = list(columns) if columns else None
            yield from _of_batches(path, file.iter_batches(batch_size=at_once, columns=wanted))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    # Of strings that are no UTF-8, to_pylist has Python's error.
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        pass_on(error)
        raise damaged(path, error, published) from error


def arrow_rows(path: Path, published: bool = False) -> Iterator[Row]:
    """The rows of an Arrow file that `datasets` wrote, mapped into memory."""
    import datasets
    import pyarrow

    try:
        mapped = datasets.Dataset.from_file(str(regular(path))).with_format("arrow")
        yield from _of_batches(path, mapped.iter(batch_size=1024))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        pass_on(error)
        raise damaged(path, error, published) from error


def _of_batches(path: Path, batches: Iterable[Any]) -> Iterator[Row]:
    """The rows of tables or record batches of pyarrow."""
    number = 0
    for batch in batches:
        found: list[dict[str, Any]] = batch.to_pylist()
        for row in found:
            number += 1
            yield f"{path}, row {number}", row
