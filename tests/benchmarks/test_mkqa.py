"""MKQA's loader: both sources of questions, the filter by type of answer, both corpus layouts."""

import json

import pytest

from m3eval.benchmarks.formats import read_answers, read_queries
from m3eval.benchmarks.mkqa import UNANSWERED, read_archive, read_original
from m3eval.benchmarks.texts import document_texts, query_texts
from m3eval.config import check, compose
from m3eval.errors import UserError
from tests import miniatures

ANSWERED = ["entity", "date", "number", "number_with_unit", "short_phrase"]


def setup(*words):
    return check(compose("benchmark=mkqa", "encoder=e5_small_q4", *words))


def row(example_id, *answers):
    """A row in Apple's format; an answer is (type, text, aliases or None)."""
    english = [
        {"type": kind, "entity": "Q1", "text": text} | ({} if a is None else {"aliases": a})
        for kind, text, a in answers
    ]
    return {
        "example_id": example_id,
        "query": f"question {example_id}",
        "queries": {"en": f"Question {example_id}", "ko": f"질문 {example_id}"},
        "answers": {"en": english, "ko": [{"type": "entity", "text": "서울"}]},
    }


def original(folder, rows):
    miniatures.jsonl(folder / "mkqa.jsonl.gz", rows)
    return folder / "mkqa.jsonl.gz"


def test_languages_and_counts_of_the_paper():
    built = setup("languages=[ko,'no',zh_cn]")
    loader = built.benchmark
    assert (
        loader.languages[:3] == ["ar", "da", "de"]
        and loader.languages[-1] == "zh_tw"
        and "no" in loader.languages
    )
    assert (len(loader.languages), loader.published_queries, loader.published_documents) == (
        25,
        6619,
        2_681_468,
    )
    assert [str(metric) for metric in built.metrics] == ["R@20", "R@100"]
    assert built.retrieval.weights["all"] == {"dense": 1.0, "sparse": 0.3, "multi_vector": 1.0}
    assert setup("languages=[en]", "benchmark.source.languages=[en]").languages == ["en"]


def test_the_type_of_the_last_english_answer_decides(tmp_path):
    rows = [row(i, (kind, f"text {i}", [f"alias {i}"])) for i, kind in enumerate(ANSWERED)]
    rows += [row(10 + i, (kind, "x", [])) for i, kind in enumerate(sorted(UNANSWERED))]
    rows += [
        # Stays, without the answer of the other type.
        row(20, ("binary", "yes", []), ("entity", "Seoul", None)),
        # Is left out, since the last answer is long.
        row(21, ("entity", "Seoul", []), ("long_answer", None, [])),
        # Stays with all strings of both answers.
        row(22, ("entity", "one", ["uno", "eins"]), ("number", "1", [])),
        # Is left out, since it has no answer.
        row(23),
    ]
    asked = read_original(original(tmp_path, rows), "ko")
    assert [qid for qid, _, _ in asked] == ["0", "1", "2", "3", "4", "20", "22"]
    strings = {qid: answers for qid, _, answers in asked}
    assert strings["0"] == ["alias 0", "text 0"]
    assert strings["20"] == ["Seoul"] and strings["22"] == ["uno", "eins", "one", "1"]
    assert asked[0][1] == "질문 0"  # the language's own question, English answers


def test_an_absent_language_and_a_broken_row_are_named(tmp_path):
    path = original(tmp_path, [row(1, ("entity", "Seoul", []))])
    with pytest.raises(
        UserError, match=r"mkqa.jsonl.gz, line 1: needs a field 'sv', has \['en', 'ko'\]"
    ):
        read_original(path, "sv")
    with pytest.raises(UserError, match="needs a field 'answers'"):
        read_original(original(tmp_path, [{"example_id": 1}]), "ko")


@pytest.mark.parametrize("parquet", [True, False])
def test_a_task_from_the_layout_of_the_hub(tmp_path, parquet):
    miniatures.mkqa(tmp_path, parquet)
    built = setup(f"benchmark.root={tmp_path}", "languages=[ko,'no']")
    ko, no = (built.benchmark.task(language) for language in ("ko", "no"))
    assert ko.corpus.name == no.corpus.name == "nq"  # one store for all languages
    assert ko.corpus.language == "en"  # what BM25's analyser must know
    text = dict(document_texts(ko.corpus, built.rules).read())
    assert (
        len(text) == 20
        and text["doc3"].startswith("title's 3\n")
        and text["doc3"].endswith(" - answer 3.")
    )
    assert dict(query_texts(ko, built.rules).read())["101"].endswith(" ko")  # questions as they are
    assert (
        ko.answers["103"] == ["Answer 3"]
        and ko.qrels is None
        and ko.judged == [str(100 + i) for i in range(6)]
    )


def test_a_task_from_the_original_file(tmp_path):
    miniatures.mkqa(tmp_path)
    path = original(tmp_path, [row(7, ("entity", "Seoul", []))])
    built = setup(f"benchmark.root={tmp_path}", f"benchmark.original={path}", "languages=[ko]")
    assert [files.repository for files in built.benchmark.files("ko")] == ["BeIR/nq"]
    assert built.benchmark.task("ko").answers == {"7": ["Seoul"]}


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match="damaged or cut short"):
        read_archive(tmp_path / "x.zip", "ko")


def test_six_real_questions(shared, tmp_path):
    """Questions without an English answer that documents can be searched for are left out."""
    folder = shared / "mkqa_fixture"
    english, korean = (
        read_answers(folder / "en/answers.jsonl"),
        read_queries(folder / "ko/queries.tsv"),
    )
    kinds = {qid: "entity" if answers else "unanswerable" for qid, answers in english.items()}
    rows = [
        {
            "example_id": int(query.qid),
            "queries": {"ko": query.text},
            "answers": {
                "en": [
                    {
                        "type": kinds[query.qid],
                        "text": (english[query.qid] or [None])[0],
                        "aliases": english[query.qid][1:],
                    }
                ]
            },
        }
        for query in korean
    ]
    asked = read_original(original(tmp_path, rows), "ko")
    assert [qid for qid, _, _ in asked] == [
        "36228854473990432",
        "-7449157003522518870",
        "7631360939705650347",
    ]
    assert "2017-05-18" in json.dumps(asked[0][2]) and "Ridley Scott" in asked[2][2]
