"""Judgements: TREC's four columns, or BEIR's three with or without a header line."""

from __future__ import annotations

import re
from pathlib import Path

from m3eval.benchmarks.fields import clean, shown
from m3eval.benchmarks.formats import QUERY_HEADER, is_header
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


def read_qrels(path: Path, published: bool = False) -> Qrels:
    """Reads the judgements of a file, plain or .gz.

    All lines have the columns of the first. A first line that names its columns is skipped; any
    other is a judgement. Whole numbers are grades however they are written. A judgement may stand
    there twice, if both agree.

    Args:
        path: the file.
        published: whether it came from the hub.

    Raises:
        UserError: a line is no judgement, has a grade out of range, or contradicts an earlier one;
            or there is none.
    """
    qrels: Qrels = {}
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
        grade = _grade(columns[-1], where, line)
        if qrels.setdefault(qid, {}).setdefault(docid, grade) != grade:
            raise UserError(
                f"{where}: {shown(qid)} judges {shown(docid)} {grade}, "
                f"{_place(path, published, qid, docid)} says {qrels[qid][docid]}: leave one out."
            )
    if not qrels:
        raise UserError(
            f"{path} has no judgement: a line is 'qid 0 docid grade' or 'qid docid grade'."
        )
    return qrels


def _grade(string: str, where: str, line: str) -> int:
    """A grade as a whole number. Raises UserError where it is none, or out of range."""
    if found := WHOLE.fullmatch(string):
        grade = int(found[1])
        if -HIGHEST <= grade <= HIGHEST:
            return grade
    try:
        float(string)
    except ValueError:
        raise _no_judgement(where, line) from None
    raise UserError(
        f"{where}: the grade {string[:40]} is no whole number from {-HIGHEST} to {HIGHEST}: map "
        "your grades to whole numbers, 1 or more for relevant documents."
    )


def _no_judgement(where: str, line: str) -> UserError:
    return UserError(
        f"{where}: expected 'qid 0 docid grade' or 'qid docid grade', got {line[:80]!r}. A header "
        "line is known by its names, such as query-id, corpus-id and score."
    )


def _place(path: Path, published: bool, qid: str, docid: str) -> str:
    """Where a judgement stands first. Found by reading again, as only a message needs it."""
    for where, line in lines(path, published):
        columns = line.split()
        if (columns[0], columns[-2]) == (qid, docid):
            return where
    return str(path)  # it was changed meanwhile
