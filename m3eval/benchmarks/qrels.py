"""Judgements: TREC's four columns, BEIR's three with or without a header line, or rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.benchmarks.fields import clean, identifier, shown
from m3eval.benchmarks.formats import QUERY_HEADER, ending, is_header, rows
from m3eval.errors import UserError
from m3eval.textfiles import lines

HIGHEST = 1000  # of grades, and with a minus the lowest: trec_eval takes memory for each grade
WHOLE = re.compile(r"([+-]?[0-9]{1,9})(\.0*)?")  # 1 and 1.0, as pandas writes it
# What the columns are called where a header line names them, in lower case.
BEIR_HEADER = (
    QUERY_HEADER[0] | {"query"},
    {"docid", "doc-id", "doc_id", "corpus-id", "corpus_id", "document", "document_id", "did"},
    {"score", "grade", "relevance", "rel", "label", "judgement", "judgment", "qrel"},
)
UNUSED = {"0", "q0", "iter", "iteration", "unused"}
TREC_HEADER = (BEIR_HEADER[0], UNUSED, *BEIR_HEADER[1:])

Qrels = dict[str, dict[str, int]]  # qid -> docid -> grade


class JudgedPair(NamedTuple):
    """A query, a document, and how good an answer it is."""

    where: str  # it stands, for messages
    qid: str
    docid: str
    grade: int


def read_qrels(*paths: Path, published: bool = False) -> Qrels:
    """Reads the judgements of files: of .tsv and others in columns, or of rows with named fields.

    All lines have the columns of the first. A first line that names its columns is skipped; any
    other is a judgement. Whole numbers are grades however they are written. A judgement may stand
    there twice, if both agree.

    Args:
        paths: the files; their endings say how they are read, and how they are packed.
        published: whether they came from the hub.

    Raises:
        UserError: a line is no judgement, has a grade out of range, or contradicts an earlier one;
            or there is none.
    """
    return collected(
        lambda: (each for path in paths for each in _judgements(path, published)),
        " and ".join(map(str, paths)),
    )


def collected(read: Callable[[], Iterator[JudgedPair]], name: str) -> Qrels:
    """Judgements by query and document.

    Args:
        read: gives them, from the start at every call.
        name: what has them.

    Raises:
        UserError: two contradict each other, or there is none.
    """
    qrels: Qrels = {}
    for where, qid, docid, grade in read():
        known = qrels.setdefault(qid, {}).setdefault(docid, grade)
        if known != grade:
            # Where it stands is found by reading again, as only a message needs it.
            places = (each.where for each in read() if (each.qid, each.docid) == (qid, docid))
            raise UserError(
                f"{where}: {shown(qid)} judges {shown(docid)} {grade}, {next(places, name)} says "
                f"{known}: leave one out."
            )
    if not qrels:
        raise UserError(
            f"{name} has no judgement: a line is 'qid 0 docid grade' or 'qid docid grade'."
        )
    return qrels


def _judgements(path: Path, published: bool) -> Iterator[JudgedPair]:
    """The judgements of a file, as its ending says."""
    if ending(path) is None or ".tsv" in path.suffixes:
        yield from _of_lines(path, published)
        return
    for where, row in rows(path, published):
        named = {name.strip().lower(): name for name in row}
        qid, docid, grade = (
            next((named[name] for name in named if name in names), "") for names in BEIR_HEADER
        )
        if not (qid and docid and grade):
            raise UserError(
                f"{where}: needs fields such as 'query-id', 'corpus-id' and 'score', has "
                f"{sorted(row)}."
            )
        yield JudgedPair(
            where,
            identifier(row, where, qid),
            identifier(row, where, docid),
            grade_of(row[grade], where),
        )


def _of_lines(path: Path, published: bool) -> Iterator[JudgedPair]:
    wide = None
    for number, (where, line) in enumerate(lines(path, published)):
        columns = line.split()
        # An id with a space among three tabulated columns would look like a fourth.
        tabulated = line.strip().count("\t") + 1
        if len(columns) not in (3, 4) or (tabulated in (3, 4) and tabulated != len(columns)):
            raise _no_judgement(where, line)
        if number == 0 and is_header(columns, TREC_HEADER if len(columns) == 4 else BEIR_HEADER):
            continue
        wide = wide or len(columns)
        if len(columns) != wide:
            raise UserError(
                f"{where}: {len(columns)} columns, {wide} in the lines before: one is missing, "
                "or an id contains white space."
            )
        qid, docid = (clean(column, where, "id") for column in (columns[0], columns[-2]))
        grade = grade_of(columns[-1], where, line)
        yield JudgedPair(where, qid, docid, grade)


def grade_of(value: Any, where: str, line: str = "") -> int:
    """A grade as a whole number.

    Args:
        value: a number, or one in text.
        where: its place.
        line: the line that has it, where it stands in columns.

    Raises:
        UserError: it is none, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{where}: the grade is {shown(value)}, expected a whole number.")
    string = str(value)
    if found := WHOLE.fullmatch(string):
        grade = int(found[1])
        if -HIGHEST <= grade <= HIGHEST:
            return grade
    try:
        float(string)
    except ValueError:
        if line:
            raise _no_judgement(where, line) from None
        raise UserError(f"{where}: the grade is {shown(value)}, expected a whole number.") from None
    raise UserError(
        f"{where}: the grade {string[:40]} is no whole number from {-HIGHEST} to {HIGHEST}: map "
        "your grades to whole numbers, 1 or more for relevant documents."
    )


def _no_judgement(where: str, line: str) -> UserError:
    return UserError(
        f"{where}: expected 'qid 0 docid grade' or 'qid docid grade', got {line[:80]!r}. A header "
        "line is known by its names, such as query-id, corpus-id and score."
    )
