"""Rows that are passed by: never made, of the same sizes, and what is wrong in them is not said."""

from __future__ import annotations

import csv
import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3eval.benchmarks import arrowfiles, delimited
from m3eval.benchmarks.formats import (
    ENDINGS,
    read_documents,
    rows,
    unparsed_rows,
    unread_documents,
)
from m3eval.errors import UserError
from m3eval.textfiles import Fields
from tests import tables

MADE = [
    {"docid": f"d{i}", "title": "Tü" * (i % 3), "text": f"text {i} \U0001f600 of, some\u2028words"}
    for i in range(70)
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_is_made_for_who_asks_and_for_nobody_else(tmp_path, monkeypatch, ending):
    path = tables.write(tmp_path / f"corpus{ending}", MADE)
    made = tables.noting(monkeypatch)
    headers = [f"{path}, line 1"] if "sv" in ending else []
    whole = list(read_documents(path))
    assert [tuple(each) for each in whole] == [tuple(row.values()) for row in MADE]
    assert len(made) == len({*made}) == len(MADE) + len(headers)
    made.clear()
    there = list(unread_documents(path))
    assert len(there) == len(MADE)
    raws = [raw() for _, _, raw in there]
    assert len({*raws}) == len(MADE) and raws == [raw() for *_, raw in unread_documents(path)]
    assert made == headers * 2
    assert [there[i][1]() for i in (41, 3)] == [whole[41], whole[3]]
    assert len(made) == 2 * len(headers) + 2
    if "json" not in ending:  # where they are, shards end where they did for those who parsed all
        assert [size for size, *_ in there] == [len(d.title) + len(d.text) for d in whole]


@pytest.mark.parametrize(
    ("ending", "bad", "said"),
    [
        (".jsonl", '{"docid": "d"}', "line 5: needs a field 'text' or 'contents', has"),
        (".jsonl", '{"docid"', "line 5: not valid JSON"),
        (".csv", "d,t,x,y", "line 5: 4 fields, 3 columns are named"),
        (".csv", 'd,"t"t,x', "line 5: no valid CSV"),
        (".tsv", "d\tt", "line 5: 2 fields, 3 columns are named"),
        (".parquet", None, "row 5: 'text' is null"),
    ],
)
def test_what_is_wrong_is_said_to_who_asks_for_it_in_the_same_words(tmp_path, ending, bad, said):
    path = tables.write(tmp_path / f"corpus{ending}", MADE)
    if bad is None:
        of_columns = pa.Table.from_pylist(MADE).to_pydict()
        of_columns["text"][4] = None
        pq.write_table(pa.table(of_columns), path)
    else:
        lines = path.read_text().split("\n")
        lines[4] = bad
        path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=said) as alone:
        list(read_documents(path))
    there = list(unread_documents(path))
    assert len(there) == len(MADE)
    wrong = 3 if ending in (".csv", ".tsv") else 4  # their first line is a header
    with pytest.raises(UserError) as asked:
        there[wrong][1]()
    assert str(asked.value) == str(alone.value)
    assert [there[i][1]().docid for i in (wrong - 1, wrong + 1)] == [
        f"d{wrong - 1}",
        f"d{wrong + 1}",
    ]


def csv_rows(content: str):
    """By the standard library, all at once: the fields of each row, or what is wrong."""
    found = []
    try:
        for row in csv.reader(io.StringIO(content, newline=""), strict=True):
            if row not in ([], [""]):
                found.append(row)
    except csv.Error as error:
        return found, str(error)
    return found, None


def drawn(draw: random.Random) -> str:
    """A table of two columns, well-formed or nearly so."""

    def field() -> str:
        value = "".join(draw.choices(['"', ",", "\n", "a", "é", "\u2028", ""], k=4))
        plain = not any(mark in value for mark in ',\n"')
        return value if plain and draw.random() < 0.5 else '"' + value.replace('"', '""') + '"'

    ends = ["\n", "\n\n", '\n""\n']
    lines = [f"{field()},{field()}{draw.choice(ends)}" for _ in range(draw.randint(0, 6))]
    content = "".join(["docid,text\n", *lines])
    if draw.random() < 0.4:
        at = draw.randrange(11, len(content) + 1)
        content = content[:at] + draw.choice(['"', ",", '""', 'a"b', "\n", ""]) + content[at + 1 :]
    return content.replace("\n", "\r\n") if draw.random() < 0.3 else content


@pytest.mark.parametrize("seed", range(8))
def test_records_of_csv_end_where_the_standard_library_ends_them(tmp_path, seed):
    draw, path = random.Random(seed), tmp_path / "x.csv"
    wrong = 0
    for _ in range(150):
        content = drawn(draw)
        path.write_bytes(content.encode())
        expected, error = csv_rows(content)
        of_two = expected[1:]
        cut = next((i for i, row in enumerate(of_two) if len(row) != 2), None)
        found, said = [], ""
        try:
            for size, row, raw in unparsed_rows(path, choose=lambda names: Fields(names, names)):
                _, each = row()
                assert size == len(each["docid"]) + len(each["text"])
                assert raw().decode() in content
                found.append([*each.values()])
        except UserError as raised:
            said = str(raised)
        assert found == of_two[:cut], content
        assert bool(said) == (cut is not None or error is not None), content
        if cut is None and error:
            assert f"no valid CSV ({error})" in said
        wrong += bool(said)
    assert 10 < wrong < 140


def test_places_are_lines_on_which_records_begin(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'\xef\xbb\xbf\r\ndocid,text\r\n""\n1,"a\n\nb"\n\n2,c\n3,"d\r\ne"\n4,f,g\n')
    places = [row for _, row, _ in unparsed_rows(path)]
    assert [row()[0].rpartition(" ")[2] for row in places[:3]] == ["4", "8", "9"]
    assert [row()[1]["text"] for row in places[:3]] == ["a\n\nb", "c", "d\r\ne"]
    with pytest.raises(UserError, match="line 11: 3 fields, 2 columns are named"):
        places[3]()


def test_a_quote_that_is_never_closed_takes_no_more_than_a_field_may_have(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "LONGEST", 30)
    path = tmp_path / "x.csv"
    path.write_text('docid,text\n1,"' + "abcdefghi\n" * 10)
    limit = csv.field_size_limit()
    try:
        first, *others = unparsed_rows(path)
        assert len(first[2]()) < 60 and len(others) == 6
        with pytest.raises(UserError, match=r"line 2: no valid CSV \(field larger than .* \(30\)"):
            first[1]()
    finally:
        csv.field_size_limit(limit)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"line 2: no valid CSV \(unexpected end of data\)"):
        list(rows(path))


def test_columns_that_no_document_needs_are_not_read(tmp_path, monkeypatch):
    read = []
    original = arrowfiles._Column.of
    monkeypatch.setattr(
        arrowfiles._Column, "of", lambda values: read.append(values.type) or original(values)
    )
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"vector": [[0.5]], "text": ["b"], "id": [7], "docid": ["d"]}), path)
    assert list(read_documents(path)) == [("d", "", "b")] and read == [pa.string()] * 2
    pq.write_table(pa.table({"vector": [[0.5]], "id": [7]}), path)
    with pytest.raises(UserError, match=r"row 1: needs a field 'text' .* has \['id', 'vector'\]"):
        list(read_documents(path))


VALUES = {
    "string": pa.array(["", "é", None, "\U0001f600x", "long " * 50] * 3),
    "dictionary": pa.array(["a", None, "é", "a", ""] * 3).dictionary_encode(),
    "large": pa.array(["", "é", None, "x", "y"] * 3, pa.large_string()),
    "view": pa.array(["", "é", None, "x", "more than twelve bytes"] * 3, pa.string_view()),
    "whole": pa.array([1, None, -7, 5, 2**60] * 3),
    "nothing": pa.nulls(15),
    "bytes": pa.array([b"a", None, b"\xff", b"", b"b"] * 3),
    "nested": pa.array([{"a": "x"}, None, {"a": None}, {"a": "y"}, {"a": ""}] * 3),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_columns_are_pyarrow_s(tmp_path, name):
    """Also where a batch is part of a longer one, and where a text is null."""
    batch = pa.record_batch({"x": VALUES[name], "docid": [str(i % 5) for i in range(15)]})
    for part in (batch, batch.slice(3, 9), batch.slice(14), batch.slice(2, 0)):
        found = list(arrowfiles._of_batches(tmp_path, [part, part], ["x"], False))
        expected = part.to_pylist() * 2
        assert [row() for _, row, _ in found] == [
            (f"{tmp_path}, row {number}", row) for number, row in enumerate(expected, 1)
        ]
        texts = [row["x"] if isinstance(row["x"], str) else "" for row in expected]
        assert [size for size, *_ in found] == [*map(len, texts)]
        of = {raw(): repr(row) for (*_, raw), row in zip(found, expected, strict=True)}
        assert sorted(of.values()) == sorted({*map(repr, expected)})


def test_what_a_row_is_made_of_tells_its_values_apart(tmp_path):
    path = tmp_path / "corpus.parquet"
    titles, texts = ["ab", "a", "", None, "abc"], ["c", "bc", "abc", "abc", ""]
    pq.write_table(pa.table({"docid": ["d"] * 5, "title": titles, "text": texts}), path)
    assert len({raw() for *_, raw in unread_documents(path)}) == 5


def test_a_text_that_is_no_utf_8_is_damage_for_who_asks_for_it(tmp_path):
    path = tmp_path / "corpus.parquet"
    texts = pa.array([b"good", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"docid": ["a", "b"], "text": texts}), path)
    good, bad = unread_documents(path)
    assert good[1]().text == "good"
    with pytest.raises(UserError, match="damaged or cut short .*can't decode byte 0xff"):
        bad[1]()
