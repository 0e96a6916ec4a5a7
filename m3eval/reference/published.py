"""Published tables of scores. Each is a JSON file in tables/; `PublishedTable` states its fields.

All scores are x 100, printed to `digits` decimals. What a source does not say is null.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.files import read_json

FOLDER = Path(__file__).resolve().parent / "tables"
AVERAGE = "average"  # in the place of a language: the mean over all languages of a table


@dataclass(frozen=True)
class PublishedRow:
    """The scores x 100 of one system."""

    system: str
    # The number of tokens that were read of a document. None: not stated, or nothing is cut.
    max_document_length: int | None
    average: float | None  # as printed
    cells: list[float | None] | None  # in the order of the table's languages
    # What the paper's tables call the system. None: it is not theirs, or this is one of them.
    same_as: str | None = None
    # The retriever's depth and weights. None: not stated.
    settings: Mapping[str, Any] | None = None
    # How the encoder read long documents, such as {"mcls": 256}. {}: each as one input.
    encoder: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedTable:
    """One table: what was measured, and the scores of its systems."""

    id: str
    caption: str
    publication: str
    benchmark: str  # the name that `benchmark.reference` has in a configuration
    split: str
    metric: str  # its canonical name, such as nDCG@10
    digits: int
    # document_fields, joint, normalize and max_query_length, as in `TextRules`. None: not stated.
    text: Mapping[str, Any] | None
    languages: list[str]  # of the columns; where no cells are printed, those of the average
    rows: list[PublishedRow]
    notes: list[str]
    source: list[str]


class Published(NamedTuple):
    """One published number x 100, with its row and table."""

    table: PublishedTable
    row: PublishedRow
    value: float


@functools.cache
def tables() -> tuple[PublishedTable, ...]:
    """All tables in the order of their file names."""
    contents = (read_json(path) for path in sorted(FOLDER.glob("*.json")))
    return tuple(
        PublishedTable(**(content | {"rows": [PublishedRow(**row) for row in content["rows"]]}))
        for content in contents
    )


def numbers(benchmark: str, metric: str, system: str) -> Iterator[tuple[str, Published]]:
    """All that is published of a system on a benchmark: (language or AVERAGE, number).

    What others measured of it (`PublishedRow.same_as`) counts where its own rows have no number.
    """
    own: set[str] = set()
    for named in (lambda row: row.system == system, lambda row: row.same_as == system):
        found = [number for number in _of_rows(benchmark, metric, named) if number[0] not in own]
        own |= {language for language, _ in found}
        yield from found


def _of_rows(
    benchmark: str, metric: str, wanted: Callable[[PublishedRow], bool]
) -> Iterator[tuple[str, Published]]:
    for table in tables():
        if (table.benchmark, table.metric) != (benchmark, metric):
            continue
        for row in filter(wanted, table.rows):
            by_language = dict(zip(table.languages, row.cells or [], strict=False))
            for language, value in ({AVERAGE: row.average} | by_language).items():
                if value is not None:
                    yield language, Published(table, row, value)


def find(
    benchmark: str, metric: str, system: str, language: str, max_document_length: int
) -> Published | None:
    """The published number of a system in a language, or AVERAGE.

    If a system was published with several input lengths, the number for `max_document_length`
    tokens is preferred. None if nothing is published.
    """
    candidates = [
        published for name, published in numbers(benchmark, metric, system) if name == language
    ]
    return min(
        candidates,
        key=lambda published: published.row.max_document_length != max_document_length,
        default=None,
    )


def in_published_order(
    benchmark: str | None, languages: Sequence[str], default: Sequence[str]
) -> list[str]:
    """Sorts languages as the widest table about a benchmark does.

    Args:
        benchmark: its name in the published tables, if it has one.
        languages: what to sort. Those that the table does not have come last.
        default: the order to use where no table is about the benchmark.
    """
    orders = [table.languages for table in tables() if table.benchmark == benchmark]
    order = max(orders, key=len, default=default)
    return sorted(
        languages, key=lambda language: order.index(language) if language in order else len(order)
    )
