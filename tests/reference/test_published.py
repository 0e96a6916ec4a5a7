"""Published tables: averages agree with cells, and every number has a source and one place."""

from collections import Counter

import numpy as np
import pytest

from m3eval.metrics.names import parse
from m3eval.reference.published import AVERAGE, find, numbers, tables


def present(row):
    return [value for value in row.cells or [] if value is not None]


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.id)
def test_a_table_has_a_source_and_a_cell_for_every_language(table):
    assert table.source and all(table.source) and table.caption and table.publication
    assert str(parse(table.metric)) == table.metric
    assert len(set(table.languages)) == len(table.languages)
    for row in table.rows:
        assert row.cells is None or len(row.cells) == len(table.languages), row.system
        assert present(row) or row.average is not None, row.system
        assert all(
            0 <= value <= 100 and round(value, table.digits) == value for value in present(row)
        ), row.system


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.id)
def test_averages_agree_with_their_cells(table):
    """The average is rounded by up to half a printed digit.

    A tenth of a digit is added for the rounding of cells, most of which cancels.
    """
    for row in table.rows:
        if row.average is not None and present(row):
            assert abs(np.mean(present(row)) - row.average) <= 0.6 * 10**-table.digits, row.system


def test_table_11_agrees_with_the_tables_it_sums_up():
    for benchmark, metric in (("miracl", "nDCG@10"), ("mkqa", "R@100"), ("mldr", "nDCG@10")):
        for short, long in (
            ("BM25 (XLM-R)", "BM25"),
            ("M3 Sparse (XLM-R)", "M3 Sparse"),
            ("M3 All (XLM-R)", "M3 All"),
        ):
            values = [find(benchmark, metric, system, AVERAGE, 0).value for system in (short, long)]
            assert values[0] == values[1]
    for benchmark in ("miracl", "mldr"):
        cells = dict(numbers(benchmark, "nDCG@10", "BM25 (Analyzer)"))
        average = cells.pop(AVERAGE).value
        assert abs(np.mean([cell.value for cell in cells.values()]) - average) <= 0.06


def test_every_number_has_one_place():
    keys = Counter(
        (table.benchmark, table.split, table.metric, row.system, language, row.max_document_length)
        for table in tables()
        for row in table.rows
        for language, value in zip(
            [AVERAGE, *table.languages], [row.average, *(row.cells or [])], strict=False
        )
        if value is not None
    )
    assert [key for key, n in keys.items() if n > 1] == []


def test_values_read_off_the_paper():
    """These were read independently of the files."""
    for benchmark, metric, system, language, value in (
        ("miracl", "nDCG@10", "M3 All", AVERAGE, 71.5),
        ("miracl", "nDCG@10", "M3 Dense", "yo", 81.8),
        ("miracl", "nDCG@10", "M3 Dense (before 2024-07)", "yo", 60.7),
        ("miracl", "R@100", "M3 Dense+Sparse", "yo", 100.0),
        ("mkqa", "R@100", "M3 Multi-vec", AVERAGE, 75.3),
        ("mkqa", "R@20", "M3 Sparse", "ar", 19.5),
        ("mldr", "nDCG@10", "M3 Dense+Sparse", "es", 88.7),
        ("narrativeqa", "nDCG@10", "M3 All", "en", 61.7),
    ):
        assert find(benchmark, metric, system, language, 8192).value == value
    assert [
        find("narrativeqa", "nDCG@10", "M3 Dense", "en", length).value
        for length in (128, 512, 8192)
    ] == [19.3, 22.8, 48.7]
    assert find("miracl", "nDCG@10", "M3 Dense", "km", 512) is None
