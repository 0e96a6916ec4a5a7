"""MIRACL's loader on a miniature mirror.

Where the shared data is at hand, also on the official topics and judgements and on a real subset.
"""

import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from m3eval.config import check, compose
from m3eval.errors import UserError


def benchmark(*words):
    return check(compose("benchmark=miracl", "encoder=e5_small_q4", *words)).benchmark


def test_reads_the_layout_of_the_hub_from_a_mirror(mirror):
    task = benchmark(f"benchmark.root={mirror}").task("sw")
    documents = list(task.corpus.read())
    # docs-10 comes after docs-9.
    assert [document.docid for document in documents] == [f"{i}#0" for i in range(60)]
    assert list(task.corpus.read()) == documents  # can be read again
    assert len(task.queries) == 9 and task.qrels["3"] == {"3#0": 1}
    assert (task.corpus.published, task.published_queries) == (131_924, 482)


def test_a_missing_language_says_what_is_missing(mirror):
    with pytest.raises(
        UserError, match=r"miracl/miracl has no files miracl-v1.0-ko/\*/\*-ko-dev.tsv"
    ):
        benchmark(f"benchmark.root={mirror}").task("ko")
    with pytest.raises(UserError, match=r"languages=\['xx'\]: unknown; choose among ar, bn"):
        benchmark("languages=[xx]")


def test_languages_and_totals_of_the_paper():
    setup = check(compose("encoder=e5_small_q4"))
    assert len(setup.benchmark.languages) == 18
    assert sum(setup.benchmark.published_documents.values()) == 106_332_152
    assert sum(setup.benchmark.published_queries.values()) == 13_495


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            LocalEntryNotFoundError("offline"),
            "hf download miracl/miracl --repo-type dataset --include 'miracl-v1.0-ko",
        ),
        (ConnectionError("refused"), "benchmark.root=/mirror"),
    ],
)
def test_out_of_reach_says_how_to_fetch(monkeypatch, raised, message):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(UserError) as error:
        benchmark().task("ko")
    assert message in str(error.value) and "experiment=demo" in str(error.value)


def test_a_gated_repository_says_log_in(monkeypatch):
    def fail(*_, **__):
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(UserError, match="accept its terms"):
        benchmark().task("ko")


def test_official_counts(shared):
    """The official topics of all 18 languages have the published counts and judgements."""
    loader = benchmark(f"benchmark.root={shared / 'miracl_official'}")
    from m3eval.benchmarks.formats import read_queries
    from m3eval.benchmarks.qrels import read_qrels

    for language in loader.languages:
        folder = shared / "miracl_official/miracl/miracl" / f"miracl-v1.0-{language}"
        name = f"miracl-v1.0-{language}-dev.tsv"
        queries = read_queries(folder / "topics" / f"topics.{name}")
        qrels = read_qrels(folder / "qrels" / f"qrels.{name}")
        assert len(queries) == loader.published_queries[language]
        assert {query.qid for query in queries} == set(qrels)


def test_a_real_subset(shared):
    task = benchmark(f"benchmark.root={shared / 'miracl_tydi'}").task("ko")
    documents = {document.docid: document for document in task.corpus.read()}
    assert (len(documents), len(task.queries)) == (1488, 163)
    assert documents["tydi-ko-00000"].title == "한니발"
    assert all(docid in documents for grades in task.qrels.values() for docid in grades)
