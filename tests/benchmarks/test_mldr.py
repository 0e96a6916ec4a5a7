"""MLDR's loader on a miniature in the hub's layout, and the published counts."""

import json
from pathlib import Path

import pytest

from m3eval.benchmarks.texts import document_texts
from m3eval.config import check, compose
from m3eval.errors import UserError
from tests import miniatures


def setup(*words):
    return check(compose("benchmark=mldr", "encoder=e5_small_q4", "retriever=[dense]", *words))


@pytest.mark.parametrize("split", ["test", "dev"])
def test_reads_the_layout_of_the_hub(tmp_path, split):
    miniatures.mldr(tmp_path)
    built = setup(f"benchmark.root={tmp_path}", f"benchmark.split={split}")
    task = built.benchmark.task("hi")
    assert [document.docid for document in task.corpus.read()] == [f"doc-hi-{i}" for i in range(12)]
    assert [query.qid for query in task.queries] == [f"q-hi-{split}-{i}" for i in range(5)]
    assert task.qrels[f"q-hi-{split}-3"] == {"doc-hi-3": 1}
    text = next(document_texts(task.corpus, built.rules).read())[1]
    assert text == miniatures.words(0, 40)  # the text alone, without a leading joint
    assert (task.corpus.published, task.published_queries) == (3806, 200)


def test_languages_counts_lengths_and_weights_of_the_paper():
    built = setup()
    languages = ["ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "ru", "th", "zh"]
    assert built.benchmark.languages == languages
    assert sum(built.benchmark.published_documents.values()) == 493_709
    assert {split: sum(n.values()) for split, n in built.benchmark.published_queries.items()} == {
        "test": 3800,
        "dev": 2600,
    }
    assert (built.rules.max_query_length, built.rules.max_document_length) == (512, 8192)
    assert built.retrieval.weights["dense_sparse"] == {"dense": 0.2, "sparse": 0.8}
    assert built.retrieval.weights["all"] == {"dense": 0.15, "sparse": 0.5, "multi_vector": 0.35}


def test_counts_are_those_of_table_7(shared):
    rows = json.loads((Path(shared).parent / "reference/table07_mldr_statistics.json").read_text())[
        "rows"
    ]
    loader = setup().benchmark
    for language in loader.languages:
        assert loader.published_documents[language] == rows[language]["corpus"]
        assert all(
            loader.published_queries[split][language] == rows[language][split]
            for split in ("dev", "test")
        )


def test_a_missing_split_is_named(tmp_path):
    miniatures.mldr(tmp_path)
    (tmp_path / "Shitao/MLDR/mldr-v1.0-hi/dev.jsonl.gz").unlink()
    with pytest.raises(UserError, match="has no files mldr-v1.0-hi/dev.jsonl.gz in"):
        setup(f"benchmark.root={tmp_path}", "benchmark.split=dev").benchmark.task("hi")
