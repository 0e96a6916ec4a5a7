"""Miniatures of the paper's benchmarks in the layouts in which they lie on the hub."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import words


def jsonl(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def mldr(root: Path, language: str = "hi", documents: int = 12, asked: int = 5) -> None:
    folder = root / "Shitao/MLDR" / f"mldr-v1.0-{language}"
    rows = [{"docid": f"doc-{language}-{i}", "text": words(i, 40)} for i in range(documents)]
    jsonl(folder / "corpus.jsonl.gz", rows)
    for split in ("dev", "test"):
        queries = [
            {
                "query_id": f"q-{language}-{split}-{i}",
                "query": " ".join(rows[i]["text"].split()[3:7]),
                "positive_passages": [rows[i]],
                "negative_passages": [rows[-1]],
            }
            for i in range(asked)
        ]
        jsonl(folder / f"{split}.jsonl.gz", queries)
        qrels = root / "Shitao/MLDR/qrels" / f"qrels.mldr-v1.0-{language}-{split}.tsv"
        qrels.parent.mkdir(exist_ok=True)
        qrels.write_text(
            "".join(f"q-{language}-{split}-{i}\t0\tdoc-{language}-{i}\t1\n" for i in range(asked))
        )


def nq_rows(n: int = 20):
    return [
        {"_id": f"doc{i}", "title": f"Title’s {i}", "text": f"{words(i, 8)} – Answer {i}."}
        for i in range(n)
    ]


def mkqa(root: Path, parquet: bool = True) -> None:
    if parquet:
        (root / "BeIR/nq/corpus").mkdir(parents=True)
        pq.write_table(
            pa.Table.from_pylist(nq_rows()), root / "BeIR/nq/corpus/corpus-00000-of-00001.parquet"
        )
    else:
        jsonl(root / "BeIR/nq/corpus.jsonl.gz", nq_rows())
    (root / "Shitao/bge-m3-data").mkdir(parents=True)
    with zipfile.ZipFile(root / "Shitao/bge-m3-data/MKQA_test-data.zip", "w") as archive:
        for language in ("ko", "no"):
            lines = [
                json.dumps(
                    {
                        "id": str(100 + i),
                        "question": f"{words(i, 3)} {language}",
                        "answers": [f"Answer {i}"],
                    }
                )
                for i in range(6)
            ]
            archive.writestr(f"qa_data/{language}.jsonl", "\n".join(lines) + "\n")
            archive.writestr(f"__MACOSX/qa_data/{language}.jsonl", "shadow")


def narrativeqa(root: Path, books: int = 4, per_book: int = 3, shards: int = 2) -> None:
    """Rows as in deepmind/narrativeqa: the document again beside each of its questions.

    Books begin at the alphabet's end.
    """
    rows = [
        {
            "document": {
                "id": f"{chr(ord('z') - book)}-book",
                "kind": "gutenberg",
                "url": "",
                "file_size": 1,
                "word_count": 60,
                "start": "",
                "end": "",
                "summary": {"text": "s", "tokens": ["s"], "url": "", "title": "t"},
                "text": words(book, 60),
            },
            "question": {"text": f"{words(book, 2)} {i}", "tokens": ["q"]},
            "answers": [{"text": "a", "tokens": ["a"]}],
        }
        for book in range(books)
        for i in range(per_book)
    ]
    folder = root / "deepmind/narrativeqa/data"
    folder.mkdir(parents=True)
    size = -(-len(rows) // shards)  # a book may begin in one shard and go on in the next
    for shard in range(shards):
        table = pa.Table.from_pylist(rows[shard * size : (shard + 1) * size])
        pq.write_table(table, folder / f"test-{shard:05d}-of-{shards:05d}.parquet")


def hub(root: Path, miracl: Path, m3: Path) -> None:
    """A hub's repositories under datasets/ and models/."""
    mldr(root / "datasets")
    mkqa(root / "datasets")
    narrativeqa(root / "datasets")
    shutil.copytree(miracl / "miracl", root / "datasets/miracl")
    shutil.copytree(m3, root / "models/BAAI/bge-m3")
