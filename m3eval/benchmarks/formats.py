"""Readers of the file formats of corpora, queries and answers; `qrels.py` reads judgements.

All of them raise a UserError that names the file and the line where a file is missing, malformed or
damaged. `published` tells whether the files came from the hub; fetching them again is the remedy
then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from m3eval.benchmarks.arrowfiles import unparsed_arrow, unparsed_parquet
from m3eval.benchmarks.delimited import unparsed_table
from m3eval.benchmarks.fields import clean, identifier, optional_text, shown, strings, text
from m3eval.benchmarks.task import Document, Query, Unread
from m3eval.errors import UserError
from m3eval.textfiles import Choose, Fields, Row, Unparsed, all_fields, lines, unparsed_json

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
PACKED = ("", ".gz", ".zst")
# Ending of a name -> reader of rows. Text is read here and not by `datasets`, which makes a date or
# a number of a string that looks like one.
READERS = {
    ending + packed: reader
    for ending, reader in (
        (".jsonl", unparsed_json),
        (".json", unparsed_json),
        (".ndjson", unparsed_json),
        (".csv", unparsed_table),
        (".tsv", unparsed_table),
    )
    for packed in PACKED
}
READERS |= {".parquet": unparsed_parquet, ".arrow": unparsed_arrow}
ENDINGS = tuple(READERS)


def ending(path: Path) -> str | None:
    """Which of `ENDINGS` a file's name has; None: none."""
    return next((each for each in ENDINGS if path.name.endswith(each)), None)


def rows(path: Path, published: bool = False) -> Iterator[Row]:
    """The rows of a file, as its ending says: each with its place and its fields by name.

    Raises:
        UserError: the file is missing, damaged or malformed, or its ending says nothing.
    """
    return (row() for _, row, _ in unparsed_rows(path, published))


def unparsed_rows(
    path: Path, published: bool = False, choose: Choose = all_fields
) -> Iterator[Unparsed]:
    """The rows of `rows`, of which only those are parsed that are asked for.

    Args:
        path: the file.
        published: whether it came from the hub.
        choose: which of its columns are wanted.
    """
    kind = ending(path)
    if kind is None:
        raise UserError(f"{path}: the ending is none of {', '.join(ENDINGS)}.")
    return READERS[kind](path, published, choose)


def read_documents(*paths: Path, published: bool = False) -> Iterator[Document]:
    """The documents of files of rows, one file after the other.

    A document has an id (`DOCID`), a text (`TEXT`) and, if it has one, a `title`.
    """
    return (document() for _, document, _ in unread_documents(*paths, published=published))


def unread_documents(*paths: Path, published: bool = False) -> Iterator[Unread]:
    """The documents of `read_documents`, of which only those are parsed that are asked for."""
    for path in paths:
        for size, row, raw in unparsed_rows(path, published, _of_documents):
            yield size, partial(_document, row, published), raw


def _of_documents(names: Sequence[str]) -> Fields:
    """The columns that documents are made of; all where one lacks, for messages name what is there.

    Titles and texts count.
    """
    found = [
        next((name for name in each if name in names), None) for each in (DOCID, ("title",), TEXT)
    ]
    docid, _, body = found
    counted = [name for name in found[1:] if name]
    return Fields([docid, *counted] if docid and body else names, counted)


def _document(made: Callable[[], Row], published: bool) -> Document:
    where, row = made()
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
