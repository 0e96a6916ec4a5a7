"""The built-in benchmark in its three forms.

Texts are parallel in 18 languages, and every answer stands in one document only.
"""

import unicodedata

import pytest

from m3eval.benchmarks.demo import TEXTS, Demo, read_rows
from m3eval.errors import UserError

LANGUAGES = sorted(path.stem for path in TEXTS.glob("*.jsonl"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_parallel_and_answers_stand_in_one_document(language):
    rows, english = read_rows(language), read_rows("en")
    assert [row["docid"] for row in rows] == [row["docid"] for row in english]
    assert [sorted(row) for row in rows] == [sorted(row) for row in english]
    assert len(rows) == 36 and sum("question" in row for row in rows) == 24
    for row in rows:
        assert all(
            value == unicodedata.normalize("NFC", value).strip() and "\n" not in value
            for value in row.values()
        )
        if "answer" in row:
            docids = [
                other["docid"]
                for other in rows
                if row["answer"].lower() in f"{other['title']}\n{other['text']}".lower()
            ]
            assert docids == [row["docid"]], row["answer"]
            assert row["answer"].lower() not in row["question"].lower()
            assert row["title"].lower() not in row["question"].lower()


def test_no_two_languages_have_the_same_text():
    firsts = {read_rows(language)[0]["text"] for language in LANGUAGES}
    assert len(firsts) == len(LANGUAGES) == 18


def test_multilingual_form_searches_the_language_of_the_question():
    task = Demo(LANGUAGES, "multilingual").task("ko")
    assert task.corpus.name == "ko" and len(list(task.corpus.read())) == 36
    assert len(task.queries) == len(task.qrels) == 24 and task.qrels["q-river-1"] == {"river-1": 1}


def test_cross_lingual_form_searches_english_by_english_answers():
    task = Demo(LANGUAGES, "cross_lingual").task("ja")
    assert task.corpus.name == "en" and task.qrels is None
    assert task.answers["q-composer-2"] == ["sister"]
    assert any("\u3040" <= letter <= "\u30ff" for letter in task.queries[0].text)


def test_long_documents_contain_one_answer_each():
    task = Demo(LANGUAGES, "long_document", 13, 0.75).task("en")
    documents = list(task.corpus.read())
    rows = {row["docid"]: row for row in read_rows("en")}
    assert len(documents) == 24 and task.qrels["q-game-1"] == {"game-1": 1}
    for document in documents:
        parts = document.text.split("\n\n")
        assert len(parts) == 13 == len(set(parts))
        assert parts[9].endswith(rows[document.docid]["text"])  # at 3/4 of the way
        assert sum(row["answer"] in document.text for row in rows.values() if "answer" in row) == 1
    # The 12 documents without a question take turns at the beginning.
    assert len({document.text.split("\n")[0] for document in documents}) == 12


def test_a_chain_longer_than_the_texts_allow_is_refused():
    with pytest.raises(UserError, match="passages_per_document=14.*choose 1 to 13"):
        Demo(LANGUAGES, "long_document", 14).task("en")
