"""Published score tables: one JSON file each in tables/, all of one shape.

A file states what was measured (benchmark, split, metric, the languages of its columns), under which text rules (`text`; null
where the source does not say), and per row the system, its input length, depth and weights, how the encoder read long documents
if not as one input each, the printed average and the cells in the order of `languages`, null where nothing is printed. All
scores are x 100, printed to `digits` decimals.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.files import read_json

FOLDER = Path(__file__).resolve().parent / "tables"
AVERAGE = "average"  # stands for a language where the mean over all of a table's languages is meant


@dataclass(frozen=True)
class Row:
    """One system's scores x 100."""

    system: str
    max_document_length: int | None  # tokens; None: not stated, or nothing is cut
    average: float | None
    cells: list[float | None] | None
    settings: Mapping[str, Any] | None = None  # the retriever's depth and weights; None: not stated
    encoder: Mapping[str, Any] = field(
        default_factory=dict
    )  # how it read long documents: {"mcls": 256}; {}: each as one input


@dataclass(frozen=True)
class Table:
    """One published table."""

    id: str
    caption: str
    publication: str
    benchmark: str  # what benchmark.reference names
    split: str
    metric: str  # canonical: nDCG@10
    digits: int
    text: (
        Mapping[str, Any] | None
    )  # document_fields, joint, normalize, max_query_length; None: not stated
    languages: list[str]
    rows: list[Row]
    notes: list[str]
    source: list[str]


class Published(NamedTuple):
    """One published number x 100 and where it stands."""

    table: Table
    row: Row
    value: float


@functools.cache
def tables() -> tuple[Table, ...]:
    """All tables, ordered by file name."""
    contents = (read_json(path) for path in sorted(FOLDER.glob("*.json")))
    return tuple(
        Table(**(content | {"rows": [Row(**row) for row in content["rows"]]}))
        for content in contents
    )


def numbers(benchmark: str, metric: str, system: str) -> Iterator[tuple[str, Published]]:
    """Language, or AVERAGE, and number for all that is published about a system."""
    for table in tables():
        if (table.benchmark, table.metric) == (benchmark, metric):
            for row in (row for row in table.rows if row.system == system):
                values = {AVERAGE: row.average} | dict(
                    zip(table.languages, row.cells or [], strict=False)
                )
                yield from (
                    (name, Published(table, row, value))
                    for name, value in values.items()
                    if value is not None
                )


def find(
    benchmark: str, metric: str, system: str, language: str, max_document_length: int
) -> Published | None:
    """The published number of a system, the one for this input length where there are several; None if there is none."""
    found = [
        published for name, published in numbers(benchmark, metric, system) if name == language
    ]
    found.sort(key=lambda published: published.row.max_document_length != max_document_length)
    return found[0] if found else None


def in_published_order(
    benchmark: str | None, languages: Sequence[str], default: Sequence[str]
) -> list[str]:
    """Languages in the order of the widest table that is published about a benchmark; of `default` where nothing is."""
    orders = [table.languages for table in tables() if table.benchmark == benchmark]
    order = max(orders, key=len, default=default)
    return sorted(
        languages, key=lambda language: order.index(language) if language in order else len(order)
    )
