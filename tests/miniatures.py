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


def parquet(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def retrieval_rows(language: str = "", documents: int = 12, asked: int = 5):
    """Rows of a corpus, of queries (the last of which nobody judged) and of judgements."""
    corpus = [
        {"_id": f"d{i}", "title": words(i, 2), "text": f"{words(100 + i, 20)} {language}"}
        for i in range(documents)
    ]
    queries = [
        {"_id": f"q{i}", "text": " ".join(corpus[i]["text"].split()[3:7])} for i in range(asked + 1)
    ]
    qrels = [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(asked)]
    return {"corpus": corpus, "queries": queries, "qrels": qrels}


def card(folder: Path, configurations: dict, language: str = "") -> None:
    """A card that names configurations: {name: {split: glob}}."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["---", *([f"language: {language}"] if language else []), "configs:"]
    for name, splits in configurations.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# A set", ""]))


def jsonl_set(root: Path) -> None:
    """As mteb/scifact: JSON Lines, one configuration each, judgements by split in `default`."""
    folder, rows = root / "mteb/scifact", retrieval_rows()
    card(
        folder,
        {
            "default": {"train": "qrels/train.jsonl", "test": "qrels/test.jsonl"},
            "corpus": {"corpus": "corpus.jsonl"},
            "queries": {"queries": "queries.jsonl"},
        },
        "en",
    )
    (folder / "qrels").mkdir()
    for name, content in (
        ("corpus", rows["corpus"]),
        ("queries", rows["queries"]),
        ("qrels/test", rows["qrels"]),
        ("qrels/train", [{"query-id": "q5", "corpus-id": "d5", "score": 1}]),
    ):
        lines = (json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text("".join(lines))


def parquet_set(root: Path) -> None:
    """As BeIR/nq: parquet, and the judgements as .tsv in a repository without a card."""
    folder, rows = root / "BeIR/nq-mini", retrieval_rows()
    card(
        folder,
        {
            "corpus": {"corpus": "corpus/corpus-*"},
            "queries": {"queries": "queries/queries-*"},
        },
    )
    for part in (0, 1):
        path = folder / f"corpus/corpus-0000{part}-of-00002.parquet"
        parquet(path, rows["corpus"][part * 6 : part * 6 + 6])
    parquet(folder / "queries/queries-00000-of-00001.parquet", rows["queries"])
    beside = root / "BeIR/nq-mini-qrels"
    beside.mkdir(parents=True)
    lines = ("\t".join(map(str, row.values())) + "\n" for row in rows["qrels"])
    (beside / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    (beside / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq5\td5\t1\n")


def languages_set(root: Path) -> None:
    """As mteb/MIRACLRetrieval: three configurations for each language, by split."""
    folder = root / "mteb/MIRACLRetrieval"
    named = {}
    for language in ("ko", "sw"):
        for kind, rows in retrieval_rows(language).items():
            # As mteb/mrtidy's corpora, those of one language have another lone split.
            split = "train" if kind == "corpus" and language == "sw" else "dev"
            named[f"{language}-{kind}"] = {split: f"{language}-{kind}/{split}-*"}
            parquet(folder / f"{language}-{kind}/{split}-00000-of-00001.parquet", rows)
    card(folder, named)


def nano_set(root: Path) -> None:
    """As NanoBEIR: corpus, queries and qrels, whose splits are named alike; floats for grades."""
    folder, rows = root / "zeta/NanoFiQA", retrieval_rows()
    for row in rows["qrels"]:
        row["score"] = 1.0
    card(folder, {name: {"train": f"{name}/train-*"} for name in rows})
    for name, content in rows.items():
        parquet(folder / f"{name}/train-00000-of-00001.parquet", content)


def script_set(root: Path) -> None:
    """As BeIR's sets were while a script read them: packed lines, and a card that says nothing."""
    folder, rows = root / "BeIR/arguana", retrieval_rows()
    for name in ("corpus", "queries"):
        jsonl(folder / f"{name}.jsonl.gz", rows[name])
    (folder / "README.md").write_text("# BEIR\n")
    (folder / "arguana.py").write_text("raise SystemExit('a script of a repository was run')\n")
    jsonl(root / "BeIR/arguana-qrels/test.jsonl.gz", rows["qrels"])


def saved_set(folder: Path) -> None:
    """What `save_to_disk` writes of a dictionary of data sets."""
    import datasets

    datasets.disable_progress_bars()
    rows = retrieval_rows()
    sets = {name: datasets.Dataset.from_list(content) for name, content in rows.items()}
    datasets.DatasetDict(sets).save_to_disk(str(folder))


def retrieval_sets(root: Path) -> None:
    """All layouts of retrieval sets that a hub has."""
    for make in (jsonl_set, parquet_set, languages_set, nano_set, script_set):
        make(root)


def belebele(root: Path, links: int = 8) -> None:
    """Rows as in mteb/belebele: one or two questions beside a passage.

    One question is asked twice, of two passages; and a link has two passages, of which MTEB's task
    takes the first.
    """
    folder = root / "mteb/belebele"
    folder.mkdir(parents=True)
    names = ("arb_Arab", "arb_Latn", "eng_Latn", "kor_Hang")
    card = {
        "configs": [
            {"config_name": name, "data_files": [{"split": "test", "path": f"data/{name}.jsonl"}]}
            for name in names
        ]
    }
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    (folder / "data").mkdir()
    for n, name in enumerate(names):
        rows = [
            {
                "link": f"https://example.org/{i % links}",
                "question_number": 1 + i // links,
                "flores_passage": f"{name} {words(7 * n + i % links, 20)}" + " more" * (i == 9),
                "question": f"{name} {words(7 * n + (0 if i == 5 else i), 5)}?",
                "dialect": name,
            }
            for i in range(links + 3)
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"data/{name}.jsonl").write_text(text, encoding="utf-8")


def hub(root: Path, miracl: Path, m3: Path) -> None:
    """A hub's repositories under datasets/ and models/."""
    mldr(root / "datasets")
    mkqa(root / "datasets")
    narrativeqa(root / "datasets")
    belebele(root / "datasets")
    retrieval_sets(root / "datasets")
    shutil.copytree(miracl / "miracl", root / "datasets/miracl")
    shutil.copytree(m3, root / "models/BAAI/bge-m3")
