"""File formats: what is read, and that messages name the file and the line."""

import gzip

import pytest

from m3eval.benchmarks.formats import read_answers, read_documents, read_queries
from m3eval.benchmarks.qrels import read_qrels
from m3eval.benchmarks.task import Document, Query
from m3eval.errors import UserError


def test_documents_of_three_dialects(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"docid": "a#1", "title": "T", "text": "x\\u2028y"}\n\n'
        '{"_id": 7, "text": ""}\n{"id": "c", "title": null, "text": "z"}\n'
    )
    assert list(read_documents(path)) == [
        Document("a#1", "T", "x\u2028y"),
        Document("7", "", ""),
        Document("c", "", "z"),
    ]


def test_a_line_separator_inside_a_text_is_no_line_end(tmp_path):
    (tmp_path / "queries.tsv").write_text(
        "1\tone\u2028still one\r\n2\ttwo\ttabs\n", encoding="utf-8", newline=""
    )
    assert read_queries(tmp_path / "queries.tsv") == [
        Query("1", "one\u2028still one"),
        Query("2", "two\ttabs"),
    ]


def test_queries_in_json_lines(tmp_path):
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "1", "text": "one"}\n{"qid": 2, "query": "two"}\n'
    )
    assert read_queries(tmp_path / "queries.jsonl") == [Query("1", "one"), Query("2", "two")]


def test_judgements_of_trec_and_beir(tmp_path):
    trec, beir = tmp_path / "trec.tsv", tmp_path / "beir.tsv"
    trec.write_text("1 0 a#1 1\n1\tQ0\tb\t0\n2 0 a#1 -1\n")
    beir.write_text("query-id\tcorpus-id\tscore\n1\ta\t2\n")
    assert read_qrels(trec) == {"1": {"a#1": 1, "b": 0}, "2": {"a#1": -1}}
    assert read_qrels(beir) == {"1": {"a": 2}}


def test_answer_strings(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"qid": "1", "answers": ["1902", "in 1902"]}\n')
    assert read_answers(tmp_path / "answers.jsonl") == {"1": ["1902", "in 1902"]}


@pytest.mark.parametrize(
    ("reader", "name", "content", "message"),
    [
        (
            read_documents,
            "c.jsonl",
            '{"docid": "1"}\n',
            r"line 1: needs a field 'text' or 'contents', has \['docid'\]",
        ),
        (
            read_documents,
            "c.jsonl",
            '{"text": "x"}\n',
            "line 1: needs a field 'docid' or '_id' or 'id'",
        ),
        (
            read_documents,
            "c.jsonl",
            '{"docid": "1", "text": "x"}\n{broken\n',
            "line 2: not valid JSON",
        ),
        (read_documents, "c.jsonl", '["x"]\n', "line 1: expected a JSON object"),
        (read_queries, "q.tsv", "1 no tab\n", "line 1: expected 'qid TAB text'"),
        (read_qrels, "q.tsv", "1 0 d 1\n1 0 d\n", "line 2: 3 columns, 4 in the lines before"),
        (read_qrels, "q.tsv", "1 0 d high\n", "line 1: expected"),
        (
            read_answers,
            "a.jsonl",
            '{"qid": "1", "answers": "x"}\n',
            "line 1: 'answers' must be a list",
        ),
    ],
)
def test_errors_name_file_and_line(tmp_path, reader, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        list(reader(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)


def test_a_truncated_gz_is_named(tmp_path):
    whole = gzip.compress(b'{"docid": "1", "text": "x"}\n' * 1000)
    (tmp_path / "docs.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or cut short"):
        list(read_documents(tmp_path / "docs.jsonl.gz"))
    with pytest.raises(UserError, match="does not exist"):
        list(read_documents(tmp_path / "other.jsonl.gz"))
