"""NarrativeQA's loader on parquet shards that the tests write.

Where the shared data is at hand, also on the official questions.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3eval.benchmarks.counts import compare_counts
from m3eval.config import check, compose
from m3eval.errors import UserError
from tests import miniatures


def benchmark(*words):
    return check(compose("benchmark=narrativeqa", "encoder=e5_small_q4", *words)).benchmark


def test_rows_become_questions_and_documents(tmp_path):
    miniatures.narrativeqa(tmp_path, books=4, per_book=3, shards=5)
    task = benchmark(f"benchmark.root={tmp_path}").task("en")
    documents = list(task.corpus.read())
    # In the order in which they first occur.
    assert [document.docid for document in documents] == ["z-book", "y-book", "x-book", "w-book"]
    assert documents == list(task.corpus.read()) and documents[1].text == miniatures.words(1, 60)
    # Ids are counted through all shards.
    assert [query.qid for query in task.queries] == [str(i) for i in range(12)]
    assert task.queries[4].text == f"{miniatures.words(1, 2)} 1"
    assert task.qrels["4"] == {"y-book": 1} and len(task.qrels) == 12


def test_a_damaged_shard_is_named(tmp_path):
    miniatures.narrativeqa(tmp_path)
    shard = tmp_path / "deepmind/narrativeqa/data/test-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"test-00001-of-00002.parquet is damaged or cut short"):
        benchmark(f"benchmark.root={tmp_path}").task("en")


def test_the_official_questions(shared, tmp_path):
    """All 10,557 test questions, written in shards as on the hub.

    The 355 summaries stand in the place of the books.
    """
    folder = shared / "narrativeqa/summary-test"
    text = {
        row["docid"]: row["text"]
        for row in map(json.loads, (folder / "corpus.jsonl").read_text().splitlines())
    }
    asked = [line.split("\t") for line in (folder / "queries.tsv").read_text().splitlines()]
    about = {
        line.split()[0]: line.split()[2] for line in (folder / "qrels.tsv").read_text().splitlines()
    }
    rows = [
        {"document": {"id": about[qid], "text": text[about[qid]]}, "question": {"text": question}}
        for qid, question in asked
    ]
    data = tmp_path / "deepmind/narrativeqa/data"
    data.mkdir(parents=True)
    for shard in range(8):
        part = rows[shard * 1320 : (shard + 1) * 1320]
        pq.write_table(pa.Table.from_pylist(part), data / f"test-{shard:05d}-of-00008.parquet")
    task = benchmark(f"benchmark.root={tmp_path}").task("en")
    documents = {document.docid for document in task.corpus.read()}
    assert compare_counts(task, len(documents), subset=False) is None
    assert {docid for grades in task.qrels.values() for docid in grades} == documents
