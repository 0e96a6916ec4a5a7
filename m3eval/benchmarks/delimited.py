"""Tables in text, .csv and .tsv: the names of the columns in the first line, then a row a record.

A .csv file is read as RFC 4180 has it: commas, and fields in double quotes may have commas and line
ends. A .tsv file has a row a line and tabs between the fields, whose quotes are text. All values
are strings.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from m3eval.errors import UserError
from m3eval.textfiles import LONGEST, Choose, Line, Row, Unparsed, all_fields, opened, whole_lines

# Records without a field: nothing at all, or, of a .csv file, one field in quotes that is empty.
EMPTY = {"\t": ("",), ",": ("", '""')}
STRICT = csv.reader((), strict=True).dialect  # a ready one saves .7 us a record

Record = tuple[str, str, int]  # the line with which it begins, its text, characters that count


def unparsed_table(
    path: Path, published: bool = False, choose: Choose = all_fields
) -> Iterator[Unparsed]:
    """The rows of a table in text; of one that is passed by, fields are measured and not made.

    Raises:
        UserError: the first line does not name every column, each once; see `textfiles.lines`. Of a
            row that is asked for: it has another number of fields; a quote is not closed.
    """
    mark = "\t" if ".tsv" in path.suffixes else ","
    with opened(path, published) as file:
        lines = whole_lines(str(path), file)
        header = next(_records(lines, mark, ()), None)
        if header is None:
            return
        where, text, _ = header
        names = fields(where, text, mark)
        if len({*names}) < len(names) or not all(name.strip() for name in names):
            raise UserError(
                f"{where}: the first line must name every column, each once, got {names}."
            )
        counted = [names.index(name) for name in choose(names).counted]
        for where, text, size in _records(lines, mark, counted):
            yield size, partial(_row, where, text, mark, names), text.encode


def fields(where: str, text: str, mark: str) -> list[str]:
    """The fields of a record, between which a mark stands. Raises UserError: it is no valid CSV."""
    if mark == "\t":
        return text.rstrip("\r\n").split(mark)
    csv.field_size_limit(LONGEST)
    try:
        return next(csv.reader((text,), STRICT))
    except csv.Error as error:
        raise UserError(f"{where}: no valid CSV ({error}).") from error


def _row(where: str, text: str, mark: str, names: list[str]) -> Row:
    row = fields(where, text, mark)
    if len(row) != len(names):
        raise UserError(
            f"{where}: {len(row)} fields, {len(names)} columns are named in the first line."
        )
    return where, dict(zip(names, row, strict=True))


def _records(lines: Iterator[Line], mark: str, counted: Collection[int]) -> Iterator[Record]:
    """The records that have a field, from where `lines` stands; some columns' characters count.

    Where a record ends is found without making its fields. In a .csv file a quote opens a field
    only where the field begins, and two stand for one within it. A quote that is not closed takes
    all lines behind it, as far as a field may be long: who asks for that record is told.
    """
    first, before, column, size = "", [], 0, 0
    quoted = -1  # characters so far of a field whose quotes are open; -1: there is none
    for where, line in lines:
        first, at = first or where, 0
        while True:
            if quoted >= 0:
                end = line.find('"', at)
                if end < 0:
                    quoted += len(line) - at
                    break
                quoted, at = quoted + end - at, end + 1
                if line.startswith('"', at):
                    quoted, at = quoted + 1, at + 1
                    continue
                size, quoted = size + (quoted if column in counted else 0), -1
            elif mark == "," and line.startswith('"', at):
                quoted, at = 0, at + 1
                continue
            else:
                end = line.find(mark, at)
                stop = end if end >= 0 else len(line.rstrip("\r\n"))
                size, at = size + (stop - at if column in counted else 0), stop
            if not line.startswith(mark, at):
                break
            column, at = column + 1, at + 1
        if 0 <= quoted <= LONGEST:
            before.append(line)
            continue
        text = "".join((*before, line)) if before else line
        if text.rstrip("\r\n") not in EMPTY[mark]:
            yield first, text, size
        first, before, column, size, quoted = "", [], 0, 0, -1
    if before:
        yield first, "".join(before), size
