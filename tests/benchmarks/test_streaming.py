"""A corpus is a stream, whatever it is read from: memory does not grow with it."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import miniatures

AT_ONCE = 10_000  # rows that are written at a time
# Reads a corpus as stages do, and notes the most memory of the process's own. Pages of a file that
# is mapped into memory are the system's, which takes them back.
READ = """
import json, re, sys, tracemalloc
from pathlib import Path
from m3eval.benchmarks.hub_set import HubSet
from m3eval.benchmarks.texts import TextRules, document_texts
from dataclasses import replace

def own():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) / 1024

most = 0.0
def watched(documents):
    global most
    for number, document in enumerate(documents):
        if number % 1000 == 0:
            most = max(most, own())
        yield document

corpus = HubSet(sys.argv[1], "test", "en", None, None, None).task("en").corpus
before = own()
watching = replace(corpus, read=lambda: watched(corpus.read()), files=())
census = document_texts(watching, TextRules()).census()
print(json.dumps({"count": census.content.count, "grown": max(most, own()) - before, "most": most}))
"""


def write(folder, kind, documents, letters):
    """A retrieval set with so many documents of so many letters; its size in MB."""
    rng = random.Random(0)
    drawn = "".join(rng.choices("abcdefghij klmnop", k=letters + AT_ONCE))
    schema = pa.schema({"_id": pa.string(), "title": pa.string(), "text": pa.string()})

    def tables():
        for start in range(0, documents, AT_ONCE):
            numbers = range(start, min(documents, start + AT_ONCE))
            texts = [f"{n} {drawn[n % AT_ONCE : n % AT_ONCE + letters]}" for n in numbers]
            columns = [[f"d{n}" for n in numbers], [""] * len(texts), texts]
            yield pa.table([pa.array(each, pa.string()) for each in columns], schema)

    miniatures.parquet(folder / "queries/test.parquet", [{"_id": "q", "text": "abc"}])
    miniatures.parquet(
        folder / "qrels/test.parquet", [{"query-id": "q", "corpus-id": "d0", "score": 1}]
    )
    path = folder / f"corpus/part.{kind}"
    path.parent.mkdir(parents=True)
    if kind == "parquet":  # one row group, as large as the whole
        with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
            writer.write_table(pa.concat_tables(tables()), row_group_size=documents)
    elif kind == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for table in tables():
                writer.write_table(table)
    else:
        with path.open("wb") as file, pa.CompressedOutputStream(file, "zstd") as packed:
            for table in tables():
                lines = (json.dumps(row) + "\n" for row in table.to_pylist())
                packed.write("".join(lines).encode())
    return documents * letters / 1e6


def reading(folder):
    found = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, timeout=900
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl.zst"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, kind):
    size = write(tmp_path, kind, 60_000, 3000)
    found = reading(tmp_path)
    assert found["count"] == 60_000 and size > 150
    # Of 60 thousand documents as of 120 thousand: allocators keep some of what they were given.
    assert found["grown"] < 0.66 * size, found  # MB


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl.zst"])
def test_a_million_documents(tmp_path, kind):
    size = write(tmp_path, kind, 1_000_000, 600)
    found = reading(tmp_path)
    assert found["count"] == 1_000_000
    assert found["grown"] < 150 and size == 600, found  # MB, with the census's 8 bytes a text
