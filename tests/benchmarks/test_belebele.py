"""BelebeleRetrieval as mteb makes it, on a miniature in the hub's layout."""

import csv
from importlib import import_module
from pathlib import Path

import pytest

from m3eval.config import check, compose
from m3eval.errors import UserError
from tests import miniatures
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def loader(tmp_path):
    miniatures.belebele(tmp_path)
    words = ["benchmark=belebele", "encoder=e5_small_q4", "retriever=[dense]"]
    return check(compose(*words, f"benchmark.root={tmp_path}", "benchmark.subset=true")).benchmark


def test_languages_are_those_of_mteb_s_task(loader):
    with (ROOT / "docs/mteb_tasks.tsv").open() as file:
        next(file)  # the version
        rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    listed = rows["BelebeleRetrieval"]["subsets"].split(",")
    alone = [f"{name}-{name}" if "-" not in name else name for name in loader.languages]
    assert sorted(alone) == sorted(listed)
    assert loader.revision == rows["BelebeleRetrieval"]["revision"]


def test_a_configuration_that_is_not_there_is_named(loader):
    with pytest.raises(UserError, match="no configuration zul_Latn: it has arb_Arab, arb_Latn"):
        loader.task("zul_Latn-eng_Latn")


def test_a_link_is_a_document_and_a_question_is_asked_once(loader):
    task = loader.task("kor_Hang-eng_Latn")
    documents = [*task.corpus.read()]
    assert (task.corpus.name, task.corpus.language) == ("kor_Hang", "ko")
    assert [each.docid for each in documents] == [f"C{i}" for i in range(8)]
    assert documents[1].text.startswith("kor_Hang ") and not documents[1].text.endswith(" more")
    assert [query.qid for query in task.queries] == [f"Q{i}" for i in range(10)]
    assert all(query.text.startswith("eng_Latn ") for query in task.queries)
    assert task.qrels["Q0"] == {"C0": 1, "C5": 1}
    assert task.qrels["Q7"] == {"C0": 1} and task.qrels["Q8"] == {"C1": 1}
    # Corpora are shared, by file and by name.
    assert loader.task("kor_Hang").corpus.files == task.corpus.files
    assert (task.corpus.published, task.published_queries) == (488, 900)
    assert loader.published_queries["mar_Deva"] == 899


def test_a_language_without_the_passage_is_refused(loader, tmp_path):
    path = tmp_path / "mteb/belebele/data/kor_Hang.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:8]))
    assert loader.task("kor_Hang").queries
    with pytest.raises(
        UserError, match=r"no document of kor_Hang has the link 'https://example.*0'"
    ):
        loader.task("kor_Hang-eng_Latn")


@pytest.mark.slow
@needs("mteb")
@pytest.mark.parametrize("language", ["kor_Hang", "kor_Hang-eng_Latn", "arb_Latn-arb_Arab"])
def test_it_is_what_mteb_makes(loader, tmp_path, language, monkeypatch):
    task = import_module("mteb").get_task("BelebeleRetrieval")
    folder = str(tmp_path / "mteb/belebele")
    monkeypatch.setattr(task.metadata, "dataset", {"path": folder})
    subset = language if "-" in language else f"{language}-{language}"
    task.hf_subsets = [subset]
    task.load_data()
    ours = loader.task(language)
    assert {query.qid: query.text for query in ours.queries} == task.queries[subset]["test"]
    assert ours.qrels == task.relevant_docs[subset]["test"]
    assert {
        each.docid: {"title": each.title, "text": each.text} for each in ours.corpus.read()
    } == task.corpus[subset]["test"]
