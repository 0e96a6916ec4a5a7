"""Your own corpora: the plain layout and BEIR's, one language and many, documents and answers."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3eval.benchmarks.folder import Folder
from m3eval.benchmarks.formats import read_documents
from m3eval.errors import UserError


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


PLAIN = {
    "corpus_jsonl": '{"docid": "d1", "title": "T", "text": "x"}\n',
    "queries_tsv": "q1\twhy\n",
    "qrels_tsv": "q1 0 d1 1\n",
}
BEIR = {
    "corpus_jsonl": '{"_id": "d1", "title": "T", "text": "x"}\n',
    "queries_jsonl": '{"_id": "q1", "text": "why"}\n',
    "qrels__test_tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
}


@pytest.mark.parametrize("files", [PLAIN, BEIR])
def test_both_layouts_give_the_same_task(tmp_path, files):
    write(tmp_path / "hi", **files)
    write(tmp_path / "th", **files)
    (tmp_path / "LICENSE").write_text("not a language")
    folder = Folder(str(tmp_path), "test", "qrels", None)
    assert folder.languages == ["hi", "th"]
    task = folder.task("th")
    assert [d.docid for d in task.corpus.read()] == ["d1"] and task.queries[0] == ("q1", "why")
    assert task.qrels == {"q1": {"d1": 1}} and task.corpus.name == "th"


@pytest.mark.parametrize("files", [PLAIN, BEIR])
@pytest.mark.parametrize("name", ["mine", "scifact", "doc", "faq", "data-en2"])
def test_the_language_of_a_flat_folder_is_asked_for_where_its_name_is_none(tmp_path, name, files):
    write(tmp_path / name, **files)
    with pytest.raises(UserError, match=f"its name '{name}' is none: say which, as in benchmark."):
        _ = Folder(str(tmp_path / name), "test", "qrels", None).languages
    folder = Folder(str(tmp_path / name), "test", "qrels", None, language="ko")
    assert folder.languages == ["ko"] and folder.task("ko").qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize("name", ["hi", "zh-Hant", "acm_Arab", "swa-en", "korean"])
def test_a_flat_folder_may_be_named_by_its_language(tmp_path, name):
    write(tmp_path / name, **PLAIN)
    assert Folder(str(tmp_path / name), "test", "qrels", None).languages == [name]
    write(tmp_path / "all" / name, **PLAIN)
    with pytest.raises(UserError, match=f"has a folder for each language \\({name}\\): choose"):
        _ = Folder(str(tmp_path / "all"), "test", "qrels", None, language="en").languages


ROWS = {
    "corpus": [{"docid": "d1", "title": "T", "text": 'a "b", c\nd'}, {"docid": "7", "text": "😀"}],
    "queries": [{"qid": "q1", "text": "why"}, {"qid": "q2", "text": "how, now"}],
    "qrels": [
        {"query-id": "q1", "corpus-id": "d1", "score": 1},
        {"query-id": "q2", "corpus-id": "7", "score": -1},
    ],
}


def save(path, rows):
    """Rows in the format that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name, "") for name in names} for row in rows]
    kind, packed = path.name.split(".", 1)[1], None
    if path.suffix in (".gz", ".zst"):
        kind, packed = kind.rpartition(".")[0], path.suffix
    if kind == "parquet":
        return pq.write_table(pa.Table.from_pylist(rows), path)
    if kind == "csv":
        file = io.StringIO()
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    elif kind == "tsv":
        text = "".join(
            "\t".join(map(str, row)) + "\n" for row in [names, *(r.values() for r in rows)]
        )
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    content = text.encode()
    if packed == ".gz":
        content = gzip.compress(content)
    elif packed == ".zst":
        content = pa.Codec("zstd").compress(content, asbytes=True)
    path.write_bytes(content)


FORMATS = ["jsonl", "jsonl.gz", "jsonl.zst", "json", "csv", "csv.gz", "csv.zst", "parquet"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("parts", [False, True])
def test_every_format_gives_the_same_task(tmp_path, kind, parts):
    for name, rows in ROWS.items():
        if parts and name != "qrels":  # a folder of that name has the judgements of splits
            for number, row in enumerate(rows):
                save(tmp_path / f"en/{name}/part-{number}.{kind}", [{"title": ""} | row])
        else:
            save(tmp_path / f"en/{name}.{kind}", rows)
    task = Folder(str(tmp_path), "test", "qrels", None).task("en")
    assert list(task.corpus.read()) == [("d1", "T", 'a "b", c\nd'), ("7", "", "😀")]
    assert task.queries == [("q1", "why"), ("q2", "how, now")]
    assert task.qrels == {"q1": {"d1": 1}, "q2": {"7": -1}}
    assert len(task.corpus.files) == (2 if parts else 1)


@pytest.mark.parametrize("kind", ["tsv", "tsv.gz", "tsv.zst"])
def test_quotes_in_tsv_are_text(tmp_path, kind):
    rows = [{"docid": "d1", "title": "T", "text": 'said "so'}]
    save(tmp_path / f"en/corpus.{kind}", rows)
    save(tmp_path / f"en/queries.{kind}", ROWS["queries"])
    save(tmp_path / f"en/qrels/test.{kind}", ROWS["qrels"])
    task = Folder(str(tmp_path), "test", "qrels", None).task("en")
    assert list(task.corpus.read()) == [("d1", "T", 'said "so')]
    assert len(task.queries) == 2 and task.qrels is not None and len(task.qrels) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("corpus.csv", b"d1,x\nd2,y\n", "line 2: needs a field 'docid' or '_id'"),
        ("corpus.csv", b"docid,text,text\nd1,x,y\n", "line 1: the first line must name every col"),
        ("corpus.csv", b"docid,,text\nd1,x,y\n", "line 1: the first line must name every column"),
        ("corpus.csv", b"docid,text\nd1,x\nd2,y,z\n", "line 3: 3 fields, 2 columns are named"),
        ("corpus.csv", b'docid,text\nd1,"x\n\ny"\nd2,"z\n', "line 5: no valid CSV"),
        ("corpus.csv", b'docid,text\nd1,"x"y\n', "line 2: no valid CSV"),
        ("corpus.csv", b"docid,text\nd1,a\0b\n", "line 2: has a NUL character at byte 5"),
        ("corpus.csv", b"docid,text\nd1,\xff\n", "line 2: byte 4 is no UTF-8"),
        ("corpus.csv", b"id,body\nd1,x\n", "line 2: needs a field 'text' or 'contents', has"),
        ("corpus.tsv", b"docid\ttext\nd1 x\n", "line 2: 1 fields, 2 columns are named"),
        ("corpus.jsonl.zst", b'{"docid": "d1", "text": "x"}\n', "damaged or cut short .*: make it"),
        ("corpus.jsonl", b"\x28\xb5\x2f\xfd....\n", "compressed by zstd: give its name"),
        (
            "qrels.csv",
            b"query-id,corpus-id,score\nq1,d1,1.5\n",
            "line 2: the grade 1.5 is no whole",
        ),
        ("qrels.csv", b"query-id,corpus-id,score\nq1,d1,yes\n", "line 2: the grade is 'yes', exp"),
        ("qrels.csv", b"query-id,corpus-id,score\nq1,d1,\n", "line 2: the grade is '', expected a"),
        ("qrels.csv", b"query-id,corpus-id\nq1,d1\n", "line 2: needs fields such as 'query-id'"),
        ("qrels.jsonl", b'{"qid": "q1", "docid": "d1", "score": null}\n', "the grade is null, exp"),
        ("qrels.jsonl", b'{"qid": "q1", "docid": "d1", "score": NaN}\n', "the grade nan is no who"),
        ("qrels.jsonl", b'{"qid": "q1", "docid": "d1", "score": [1]}\n', "the grade is .1., expec"),
        ("qrels.jsonl", b'{"qid": "q1", "docid": null, "score": 1}\n', "'docid' is null, expected"),
        (
            "qrels.csv",
            b"query-id,corpus-id,score\nq1,d1,1\nq1,d1,2\n",
            "line 3: 'q1' judges 'd1' 2, .*csv, line 2 says 1: leave one out",
        ),
    ],
)
def test_other_formats_are_refused_by_the_same_rules(tmp_path, name, content, said):
    for kind, rows in ROWS.items():
        if not name.startswith(kind):
            save(tmp_path / f"en/{kind}.jsonl", rows)
    (tmp_path / f"en/{name}").write_bytes(content)
    with pytest.raises(UserError, match=said):
        task = Folder(str(tmp_path), "test", "qrels", None).task("en")
        list(task.corpus.read())


def test_a_packed_file_that_was_cut_is_damaged(tmp_path):
    rows = [{"docid": f"d{i}", "text": str(i) * 50} for i in range(5000)]
    save(tmp_path / "corpus.jsonl.zst", rows)
    content = (tmp_path / "corpus.jsonl.zst").read_bytes()
    assert sum(1 for _ in read_documents(tmp_path / "corpus.jsonl.zst")) == 5000
    for cut in (content[: len(content) // 2], content[:40] + b"x" * 9 + content[49:]):
        (tmp_path / "corpus.jsonl.zst").write_bytes(cut)
        with pytest.raises(UserError, match="zst is damaged or cut short .*: make it again"):
            list(read_documents(tmp_path / "corpus.jsonl.zst"))


def test_languages_share_a_corpus_and_are_judged_by_answers(tmp_path):
    write(tmp_path / "corpus-en", corpus_jsonl=PLAIN["corpus_jsonl"])
    write(
        tmp_path / "sw",
        queries_tsv="q1\tkwa nini\n",
        answers_jsonl=json.dumps({"qid": "q1", "answers": ["x"]}) + "\n",
    )
    folder = Folder(str(tmp_path), "test", "answers", "corpus-en")
    assert folder.languages == ["sw"]
    task = folder.task("sw")
    assert task.corpus.name == "corpus-en" and task.answers == {"q1": ["x"]} and task.qrels is None


def test_messages_name_the_missing_file(tmp_path):
    with pytest.raises(UserError, match="there is no queries.tsv or queries.jsonl"):
        _ = Folder(str(tmp_path), "test", "qrels", None).languages
    write(tmp_path / "hi", queries_tsv="q1\twhy\n")
    with pytest.raises(UserError, match="has no corpus.jsonl .*set benchmark.corpus="):
        Folder(str(tmp_path), "test", "qrels", None).task("hi")
    write(tmp_path / "hi", corpus_jsonl=PLAIN["corpus_jsonl"])
    with pytest.raises(UserError, match=r"has no qrels.tsv or qrels/dev.tsv"):
        Folder(str(tmp_path), "dev", "qrels", None).task("hi")


def test_the_last_of_equal_questions_stays(tmp_path):
    """As in MTEB: the last query of each text stays, in its place and with its own judgements."""
    write(
        tmp_path / "en",
        corpus_jsonl=PLAIN["corpus_jsonl"],
        queries_tsv="q1\twhy\nq2\thow\nq3\twhy\n",
        qrels_tsv="q1 0 d1 1\nq2 0 d1 1\nq3 0 d2 1\n",
        answers_jsonl="".join(
            json.dumps({"qid": qid, "answers": [qid]}) + "\n" for qid in ("q1", "q2", "q3")
        ),
    )
    task = Folder(str(tmp_path), "test", "qrels", None, merge_equal_queries=True).task("en")
    assert task.queries == [("q2", "how"), ("q3", "why")] and task.qrels == {
        "q2": {"d1": 1},
        "q3": {"d2": 1},
    }
    task = Folder(str(tmp_path), "test", "answers", None, merge_equal_queries=True).task("en")
    assert task.answers == {"q2": ["q2"], "q3": ["q3"]} and task.qrels is None
    assert len(Folder(str(tmp_path), "test", "qrels", None).task("en").queries) == 3
