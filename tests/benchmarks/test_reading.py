"""The one reader: what it takes in every file, and the one sentence for what it does not."""

from __future__ import annotations

import gzip
import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3eval.benchmarks import qrels as judgements
from m3eval.benchmarks.folder import Folder
from m3eval.benchmarks.formats import read_documents, read_queries
from m3eval.benchmarks.mkqa import read_archive, read_original
from m3eval.benchmarks.narrativeqa import NarrativeQA
from m3eval.benchmarks.qrels import read_qrels
from m3eval.errors import UserError
from m3eval.files import parse_json, read_json
from m3eval.records import read
from m3eval.textfiles import LONGEST
from tests import miniatures

GOOD = {
    "corpus.jsonl": b'{"_id": "d1", "title": "T", "text": "x"}\n{"_id": "d2", "text": "y"}\n',
    "queries.tsv": b"q1\twhy\nq2\thow\n",
    "queries.jsonl": b'{"_id": "q1", "text": "why"}\n{"_id": "q2", "text": "how"}\n',
    "qrels.tsv": b"q1 0 d1 1\nq2 0 d2 1\n",
    "answers.jsonl": b'{"qid": "q1", "answers": ["x"]}\n{"qid": "q2", "answers": ["y"]}\n',
}
PLAIN = ["corpus.jsonl", "queries.tsv", "qrels.tsv"]
BY_ANSWERS = ["corpus.jsonl", "queries.jsonl", "answers.jsonl"]


def write(folder, files):
    for name, content in files.items():
        path = folder / "en" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def everything(folder, judged_by="qrels", split="test"):
    """All that a benchmark reads of a folder."""
    task = Folder(str(folder), split, judged_by, None).task("en")
    return list(task.corpus.read()), task.queries, task.qrels, task.answers


def read_with(folder, **changed):
    """All that is read where some files differ from good ones; None takes one away."""
    by_answers = "answers.jsonl" in changed
    names = BY_ANSWERS if by_answers else PLAIN
    if "queries.jsonl" in changed or "queries.tsv" in changed:
        names = [name for name in names if not name.startswith("queries")]
    files = {name: GOOD[name] for name in names} | changed
    write(folder, {name: content for name, content in files.items() if content is not None})
    return everything(folder, "answers" if by_answers else "qrels")


@pytest.mark.parametrize("names", [PLAIN, BY_ANSWERS])
def test_a_byte_order_mark_changes_nothing(tmp_path, names):
    judged_by = "answers" if names is BY_ANSWERS else "qrels"
    write(tmp_path / "plain", {name: GOOD[name] for name in names})
    write(tmp_path / "marked", {name: b"\xef\xbb\xbf" + GOOD[name] for name in names})
    windows = {name: GOOD[name].replace(b"\n", b"\r\n") for name in names}
    write(tmp_path / "windows", windows)
    packed = {f"{name}.gz": gzip.compress(GOOD[name]) for name in names}
    write(tmp_path / "packed", packed)
    read = [
        everything(tmp_path / kind, judged_by) for kind in ("plain", "marked", "windows", "packed")
    ]
    assert read[0] == read[1] == read[2] == read[3] and len(read[0][0]) == 2


HALF = rb'{"qid": "q1", "answers": ["\ud83d"]}' + b"\n"
DOCUMENT = '{{"_id": {}, "title": {}, "text": {}}}\n'
LONG = b'"' + b"x" * (LONGEST + 10) + b'"'


def document(docid='"d1"', title='"T"', text='"x"'):
    return DOCUMENT.format(docid, title, text).encode()


NESTED = "[" * 100_000 + "]" * 100_000
# Name of a file, its content, and what is said.
WRONG = [
    ("corpus.jsonl", document(text="null"), "line 1: 'text' is null, expected a string"),
    ("corpus.jsonl", document(text="NaN"), "line 1: 'text' is NaN, expected a string"),
    ("corpus.jsonl", document(text='["a", "b"]'), r"line 1: 'text' is \['a', 'b'\], expected"),
    ("corpus.jsonl", document(text='{"a": 1}'), "line 1: 'text' is {'a': 1}, expected a string"),
    ("corpus.jsonl", document(text="true"), "line 1: 'text' is true, expected a string"),
    ("corpus.jsonl", document(text="1.5"), "line 1: 'text' is 1.5, expected a string"),
    ("corpus.jsonl", document(text="7"), "line 1: 'text' is 7, expected a string"),
    ("corpus.jsonl", document(title="[]"), r"line 1: 'title' is \[\], expected a string"),
    ("corpus.jsonl", document(title="false"), "line 1: 'title' is false, expected a string"),
    ("corpus.jsonl", document(title="0"), "line 1: 'title' is 0, expected a string"),
    ("corpus.jsonl", document(title="Infinity"), "line 1: 'title' is inf, expected a string"),
    ("corpus.jsonl", document("null"), "line 1: '_id' is null, expected a string or a whole"),
    ("corpus.jsonl", document("true"), "line 1: '_id' is true, expected a string or a whole"),
    ("corpus.jsonl", document("1e3"), "line 1: '_id' is 1000.0, expected a string or a whole"),
    ("corpus.jsonl", document("9" * 5000), "line 1: not valid JSON"),
    ("corpus.jsonl", document(text=NESTED), "line 1: not valid JSON .*nested too deeply"),
    ("corpus.jsonl", document(text=r'"a\ud83d"'), "line 1: 'text' has half of a surrogate pair"),
    ("corpus.jsonl", document(title=r'"\udc00"'), "line 1: 'title' has half of a surrogate pair"),
    ("corpus.jsonl", document(r'"\ud800"'), "line 1: '_id' has half of a surrogate pair"),
    ("corpus.jsonl", document(text=r'"a\u0000b"'), "line 1: 'text' has a NUL character"),
    ("corpus.jsonl", document() + b'{"_id": "a\0"}', "line 2: has a NUL character at byte 11"),
    ("corpus.jsonl", document() + b'{"_id": "\xff"}', "line 2: byte 10 is no UTF-8"),
    ("corpus.jsonl", document() + b'{"_id": "\xed\xa0\xbd"}', "line 2: byte 10 is no UTF-8"),
    ("corpus.jsonl", b'{"_id": "d", "_id": "e", "text": ""}', "the key '_id' occurs twice"),
    ("corpus.jsonl", b'{"_id": "d"}{"_id": "e"}\n', "line 1: not valid JSON"),
    ("corpus.jsonl", b'[["d1", "x"]]\n', "line 1: expected a JSON object"),
    ("corpus.jsonl", b'{"_id": "d1",\r"text": "x"}\n', "line 1: has a carriage return at byte 14"),
    ("corpus.jsonl", document(text=LONG.decode()), "line 1: longer than 32,000,000 bytes"),
    ("corpus.jsonl", GOOD["corpus.jsonl"].decode().encode("utf-16"), "it is UTF-16"),
    ("corpus.jsonl", gzip.compress(GOOD["corpus.jsonl"]), "compressed by gzip: give its name"),
    ("corpus.jsonl", b"PK\x03\x04...", "it is a zip archive"),
    ("queries.tsv", b"q1 why\n", "line 1: expected 'qid TAB text'"),
    ("queries.tsv", b"q1\twhy\nq2\t\xe9\n", "line 2: byte 4 is no UTF-8"),
    ("queries.tsv", b"q1\twhy\rq2\thow\r", "line 1: has a carriage return"),
    ("queries.jsonl", b'{"qid": "q1", "text": null}\n', "line 1: 'text' is null"),
    ("queries.jsonl", b'{"qid": ["q1"], "text": "x"}\n', r"line 1: 'qid' is \['q1'\]"),
    ("qrels.tsv", b"q1 0 d1 1.5\n", "line 1: the grade 1.5 is no whole number from -1000 to 1000"),
    ("qrels.tsv", b"q1 0 d1 nan\n", "line 1: the grade nan is no whole number"),
    ("qrels.tsv", b"q1 0 d1 1e3\n", "line 1: the grade 1e3 is no whole number"),
    ("qrels.tsv", b"q1 0 d1 1001\n", "line 1: the grade 1001 is no whole number from -1000"),
    ("qrels.tsv", b"q1 0 d1 1000000000\n", "the grade 1000000000 is no whole number"),
    ("qrels.tsv", b"q1 0 d1 " + b"9" * 5000 + b"\n", "is no whole number"),
    ("qrels.tsv", b"q1 0 d1 yes\n", "line 1: expected 'qid 0 docid grade'"),
    ("qrels.tsv", b"some other names\nq1 d1 1\n", "line 1: .*A header line is known by its names"),
    ("qrels.tsv", b"q1 d1 1\nquery-id corpus-id score\n", "line 2: expected 'qid 0 docid grade'"),
    ("qrels.tsv", b"q1 0 d1 1\nq2 d2 1\n", "line 2: 3 columns, 4 in the lines before"),
    ("qrels.tsv", b"q1\td one\t1\n", "line 1: expected 'qid 0 docid grade'"),
    ("qrels.tsv", b"q1 0 d1\n", "line 1: expected"),
    ("qrels.tsv", b"q1 0 d1 1\nq1 0 d2 1\nq1 0 d1 0\n", "line 3: 'q1' judges 'd1' 0, .*line 1 sa"),
    ("qrels.tsv", b"", "has no judgement"),
    ("qrels.tsv", b"query-id\tcorpus-id\tscore\n", "has no judgement"),
    ("answers.jsonl", b'{"qid": "q1", "answers": "x"}\n', "'answers' must be a list of strings"),
    ("answers.jsonl", b'{"qid": "q1", "answers": [1.5]}\n', r"'answers\[0\]' is 1.5"),
    ("answers.jsonl", b'{"qid": "q1", "answers": [null]}\n', r"'answers\[0\]' is null"),
    ("answers.jsonl", b'{"qid": "q1", "answers": ["a", true]}\n', r"'answers\[1\]' is true"),
    ("answers.jsonl", b'{"qid": "q1", "answers": [["a"]]}\n', r"'answers\[0\]' is \['a'\]"),
    ("answers.jsonl", b'{"qid": "q1", "answers": [""]}\n', "'answers' has '', which every docum"),
    ("answers.jsonl", b'{"qid": "q1", "answers": [" "]}\n', "has ' ', which every document cont"),
    ("answers.jsonl", HALF, r"'answers\[0\]' has half of a surrogate pair"),
    (
        "answers.jsonl",
        GOOD["answers.jsonl"] + b'{"qid": "q1", "answers": []}\n',
        "line 3: other",
    ),
    ("answers.jsonl", b"\n", "has no answers"),
]


@pytest.mark.parametrize(
    ("name", "content", "said"), WRONG, ids=[f"{case[0]}-{i}" for i, case in enumerate(WRONG)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_wrong_is_one_sentence_with_its_place(tmp_path, name, content, said, packed):
    """Nothing of it is scored, and nothing of it ends in a traceback."""
    if packed and content.startswith(b"\x1f\x8b"):
        content = gzip.compress(content)
    file = {f"{name}.gz": gzip.compress(content, 1)} if packed else {name: content}
    with pytest.raises(UserError, match=said) as error:
        read_with(tmp_path, **({name: None} if packed else {}), **file)
    message = str(error.value)
    assert str(tmp_path / "en" / name) in message and "fetch" not in message
    assert "\n" not in message and len(message) < 600


def test_ids_are_strings_or_whole_numbers_as_they_are_written(tmp_path):
    documents, queries, _, answers = read_with(
        tmp_path,
        **{
            "corpus.jsonl": document("7", "NaN") + document('"007"', "null") + document("-1", '""'),
            "queries.jsonl": b'{"_id": 7, "query": "why"}\n',
            "answers.jsonl": b'{"_id": 7, "answers": [1902, "in 1902"]}\n',
        },
    )
    assert [(d.docid, d.title) for d in documents] == [("7", ""), ("007", ""), ("-1", "")]
    assert queries == [("7", "why")] and answers == {"7": ["1902", "in 1902"]}


@pytest.mark.parametrize(
    "header",
    [
        "query-id\tcorpus-id\tscore",
        "qid\tdocid\tgrade",
        "Query_ID\tDoc_ID\tRelevance",
        "query-id corpus-id score",
        "topic doc_id label",
    ],
)
def test_a_header_is_known_by_its_names(tmp_path, header):
    (tmp_path / "qrels.tsv").write_text(f"{header}\nq1\td1\t1\n")
    assert read_qrels(tmp_path / "qrels.tsv") == {"q1": {"d1": 1}}


def test_a_header_of_four_columns_and_what_is_none(tmp_path):
    path = tmp_path / "qrels.tsv"
    path.write_text("qid iter docid rel\nq1 0 d1 1\n")
    assert read_qrels(path) == {"q1": {"d1": 1}}
    path.write_text("q1\td1\t1.0\nq1\td2\t-2.00\nq1\td3\t0\nq1\td1\t1\n")
    assert read_qrels(path) == {"q1": {"d1": 1, "d2": -2, "d3": 0}}  # said twice, and alike
    path.write_text(f"q1 d1 {judgements.HIGHEST}\nq1 d2 -{judgements.HIGHEST}\n")
    assert read_qrels(path)["q1"] == {"d1": judgements.HIGHEST, "d2": -judgements.HIGHEST}


@pytest.mark.parametrize("header", ["qid\ttext", "query-id\tquery", "ID\tText", "_id\tquestion"])
def test_a_header_of_queries_is_no_query(tmp_path, header):
    path = tmp_path / "queries.tsv"
    path.write_text(f"{header}\nq1\twhy\n")
    assert read_queries(path) == [("q1", "why")]
    path.write_text(f"q1\twhy\n{header}\n")  # only where a header stands
    assert len(read_queries(path)) == 2
    path.write_text("query\tq1\nid\twhat is a text\n")
    assert len(read_queries(path)) == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["queries.tsv", "queries.jsonl"], "has queries.jsonl and queries.tsv: either could"),
        (["queries.tsv", "queries.tsv.gz"], "has queries.tsv and queries.tsv.gz: either could"),
        (["corpus.jsonl", "corpus.jsonl.gz"], "has corpus.jsonl and corpus.jsonl.gz: either"),
        (["qrels.tsv", "qrels.tsv.gz"], "has qrels.tsv and qrels.tsv.gz: either could"),
        (["qrels.tsv", "qrels/test.tsv"], "has qrels.tsv and qrels/test.tsv: it is not clear"),
        (["qrels.tsv", "qrels/dev.tsv"], "has qrels.tsv and qrels/dev.tsv: it is not clear"),
        (["qrels.tsv.gz", "qrels/dev.tsv.gz"], "has qrels.tsv.gz and qrels/dev.tsv.gz: it is"),
        (["qrels/test.tsv", "qrels/test.tsv.gz"], "has test.tsv and test.tsv.gz: either could"),
        (["qrels/dev.tsv"], "has no qrels.tsv or qrels/test.tsv .*It has qrels/dev.tsv"),
    ],
)
def test_where_two_files_could_be_meant_none_is_read(tmp_path, files, said):
    names = [name for name in PLAIN if not any(other.startswith(name[:5]) for other in files)]
    contents = {}
    for name in [*names, *files]:
        plain = name.removesuffix(".gz")
        content = GOOD["qrels.tsv" if plain.startswith("qrels") else plain]
        contents[name] = gzip.compress(content) if name.endswith(".gz") else content
    write(tmp_path, contents)
    with pytest.raises(UserError, match=said):
        everything(tmp_path)


@pytest.mark.parametrize("name", PLAIN)
def test_a_folder_a_pipe_and_a_device_are_no_files(tmp_path, name):
    write(tmp_path, {other: GOOD[other] for other in PLAIN if other != name})
    path = tmp_path / "en" / name
    path.mkdir()
    with pytest.raises(UserError, match=f"{name} is a folder"):
        everything(tmp_path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UserError, match=f"{name} is a pipe or a device"):
        everything(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=f"{name} is a pipe or a device"):
        everything(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"_id": "d1", "text": None}, "row 1: 'text' is null"),
        ({"_id": "d1", "text": ["a"]}, r"row 1: 'text' is \['a'\]"),
        ({"_id": 1.5, "text": "x"}, "row 1: '_id' is 1.5"),
        ({"_id": True, "text": "x"}, "row 1: '_id' is true"),
        ({"_id": "d1", "text": b"x"}, "row 1: 'text' is b'x'"),
        ({"_id": "d1", "title": 5, "text": "x"}, "row 1: 'title' is 5"),
        ({"text": "x"}, "row 1: needs a field 'docid' or '_id' or 'id' or"),
    ],
)
def test_rows_of_parquet_have_the_same_kinds(tmp_path, row, said):
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(UserError, match=said):
        list(read_documents(path))
    pq.write_table(pa.Table.from_pylist([{"id": 7, "title": None, "text": "x"}]), path)
    assert list(read_documents(path)) == [("7", "", "x")]


def test_parquet_that_is_none(tmp_path):
    path = tmp_path / "corpus.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="damaged or cut short .*: fetch it again"):
        list(read_documents(path, published=True))
    with pytest.raises(UserError, match="damaged or cut short .*: make it again"):
        list(read_documents(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is a folder"):
        list(read_documents(path))


def test_published_texts_are_read_as_they_stand(tmp_path):
    """Published figures rest on them; what no tokeniser takes is refused there, too."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(document(text=r'"a\u0000b"'))
    assert next(read_documents(path, published=True)).text == "a\0b"
    path.write_bytes(document(text=r'"a\ud83d"'))
    with pytest.raises(UserError, match="half of a surrogate"):
        next(read_documents(path, published=True))


def test_questions_of_mkqa_have_kinds_too(tmp_path):
    def asked(english, **changed):
        row = {"example_id": 1, "queries": {"ko": "?"}, "answers": {"en": json.loads(english)}}
        miniatures.jsonl(tmp_path / "mkqa.jsonl.gz", [row | changed])
        return read_original(tmp_path / "mkqa.jsonl.gz", "ko")

    entity = '[{"type": "entity", "text": "Seoul", "aliases": null}]'
    assert asked(entity) == [("1", "?", ["Seoul"])]
    for changed, said in (
        ({"answers": ["x"]}, r"'answers' is \['x'\], expected an object"),
        ({"answers": {"en": "x"}}, "'en' is 'x', expected a list of objects"),
        ({"answers": {"en": [{"text": "x"}]}}, "needs a field 'type', has"),
        ({"queries": {"ko": 5}}, "'ko' is 5, expected a string"),
        ({"example_id": None}, "'example_id' is null"),
    ):
        with pytest.raises(UserError, match=said):
            asked(entity, **changed)
    with pytest.raises(UserError, match="'text' is 5"):
        asked('[{"type": "entity", "text": 5}]')
    with pytest.raises(UserError, match="'aliases' must be a list of strings"):
        asked('[{"type": "entity", "text": "x", "aliases": "y"}]')
    with pytest.raises(UserError, match="x.zip does not exist"):
        read_archive(tmp_path / "x.zip", "ko")


def test_questions_of_narrativeqa_have_kinds_too(tmp_path):
    folder = tmp_path / "deepmind/narrativeqa/data"
    folder.mkdir(parents=True)
    row = {"document": {"id": "d", "text": "x"}, "question": {"text": None}}
    schema = pa.schema(
        {
            "document": pa.struct({"id": pa.string(), "text": pa.string()}),
            "question": pa.struct({"text": pa.string()}),
        }
    )
    table = pa.Table.from_pylist([row], schema=schema)
    pq.write_table(table, folder / "test-00000-of-00001.parquet")
    loader = NarrativeQA(["en"], "test", str(tmp_path), None, None, None)
    with pytest.raises(UserError, match=r"parquet, row 1: 'text' is null"):
        loader.task("en")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "Expecting property name"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (b"9" * 5000, "digits"),
        (b'"\xff"', "invalid start byte"),
        (b"", "Expecting value"),
    ],
)
def test_json_files_are_read_by_the_same_rules(tmp_path, content, said):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"x.json is no valid JSON: .*{said}"):
        read_json(path)
    with pytest.raises(UserError, match=re.escape("x.json is no dict of m3eval")):
        read(path, dict)
    path.write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert read_json(path) == parse_json('{"a": [1]}') == {"a": [1]}
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="is a pipe or a device"):
        read_json(path)
    with pytest.raises(UserError, match="is a pipe or a device"):
        read(path, dict)
