"""The built-in benchmark in its three forms, and what its texts must satisfy in every language."""

import re
import statistics
import unicodedata
from collections import Counter

import pytest
import regex

from m3eval.benchmarks.demo import TEXTS, TIERS, Demo, read_rows
from m3eval.errors import UserError
from m3eval.metrics.answers import normal_form

LANGUAGES = sorted(path.stem for path in TEXTS.glob("*.jsonl"))
# Written without spaces: answers are found by characters, and words are runs of characters.
UNSPACED = {"ja", "zh", "th"}
# Words of grammar, by language, that happen to stand in one document only; and "language", which
# Indonesian and Yoruba say before the name of one. In Thai, seven characters across two words.
GRAMMAR = {
    "bn": {"পায়"},
    "de": {"was"},
    "es": {"le", "nada"},
    "fa": {"توانند"},
    "hi": {"पाता", "सकते", "जिसके"},
    "id": {"apa", "bahasa"},
    "ru": {"ничего"},
    "te": {"ఎవరి"},
    "th": {"นหนังสื"},
    "yo": {"èdè"},
}


def document(row):
    return f"{row['title']}\n{row['text']}"


def form(language, text):
    """See `normal_form`; substrings only where a language is written without spaces."""
    return normal_form(text, "characters" if language in UNSPACED else "tokens")


def words(language, text):
    """Words of two letters or more; without spaces, pairs of Han letters, katakana, Thai sevens."""
    if language == "th":
        runs = regex.findall(r"\p{Thai}+", text)
        return {run[i : i + 7] for run in runs for i in range(len(run) - 6)}
    if language in UNSPACED:
        runs = regex.findall(r"\p{Han}+", text)
        pairs = {run[i : i + 2] for run in runs for i in range(len(run) - 1)}
        return pairs | set(regex.findall(r"[\p{Katakana}ー]{2,}", text))
    tokens = normal_form(text).strip("\0").split("\0")
    return {unicodedata.normalize("NFC", token) for token in tokens if len(token) > 1}


def pieces(language, text):
    """Words; in Japanese and Chinese, all pairs of letters."""
    if language not in UNSPACED - {"th"}:
        return words(language, text)
    runs = regex.findall(r"[\p{L}\p{M}]+", text)
    return {run[i : i + 2] for run in runs for i in range(len(run) - 1)}


def of_one_document(rows, cut, language):
    """docid -> the words that stand in that document and in no other."""
    held = {row["docid"]: cut(language, document(row)) for row in rows}
    counts = Counter(word for of_document in held.values() for word in of_document)
    return {docid: {word for word in of if counts[word] == 1} for docid, of in held.items()}


def problems(language, rows, english):
    """What is wrong with the texts of a language, a sentence each."""
    found = []
    if [row["docid"] for row in rows] != [row["docid"] for row in english]:
        return ["other documents than in English, or another order"]
    if [sorted(row) for row in rows] != [sorted(row) for row in english]:
        return ["other fields than in English"]
    forms = {row["docid"]: form(language, document(row)) for row in rows}
    rare = of_one_document(rows, words, language)
    rare_pieces = of_one_document(rows, pieces, language)
    ratios = [
        len(row["text"]) / len(other["text"]) for row, other in zip(rows, english, strict=True)
    ]
    usual = statistics.median(ratios)
    for row, other, ratio in zip(rows, english, ratios, strict=True):
        docid = row["docid"]
        for field, value in row.items():
            if value != unicodedata.normalize("NFC", value).strip() or "\n" in value:
                found.append(f"{docid} {field}: not one line in NFC")
        for tier in TIERS:
            question, answer = row[tier], row[f"{tier}_answer"]
            holding = [name for name, text in forms.items() if form(language, answer) in text]
            if answer not in row["text"] or holding != [docid]:
                found.append(f"{docid} {tier}: {answer!r} stands in {holding}")
            if form(language, answer) in form(language, question):
                found.append(f"{docid} {tier}: the question gives the answer")
            if row["title"].lower() in question.lower():
                found.append(f"{docid} {tier}: the question names the title")
            if not 0.15 < len(question) / len(other[tier]) < 2.5:
                found.append(f"{docid} {tier}: a question of an odd length")
        shared = words(language, row["paraphrase"]) & rare[docid]
        if shared := shared - GRAMMAR.get(language, set()):
            found.append(f"{docid} paraphrase: {shared} stand in this document alone")
        if not pieces(language, row["keyword"]) & rare_pieces[docid]:
            found.append(f"{docid} keyword: no word of this document alone")
        figure, expected = (
            re.findall(r"\d+", text)[0] for text in (row["keyword_answer"], other["keyword_answer"])
        )
        if int(figure) != int(expected):
            found.append(f"{docid}: {figure} in place of {expected}")
        if not 0.7 < ratio / usual < 1.4:
            found.append(f"{docid}: {ratio / usual:.2f} times as long as its language's others")
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_valid(language):
    assert problems(language, read_rows(language), read_rows("en")) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("docid", "river-9", "other documents"),
        ("text", "The Ostrim e\u0301", "NFC"),
        ("keyword_answer", "85 metres", "stands in"),
        ("keyword", "Is it 46 metres wide at its mouth, as a warm spring in a crater?", "gives"),
        ("keyword", "How wide is a river of no description at all, at its very mouth?", "alone"),
        (
            "paraphrase",
            "Which animal lives below the waterfalls of the stream in question?",
            "alone",
        ),
        ("paraphrase", "Who?", "odd length"),
        ("text", "It is 46 metres wide at its mouth. Nothing but a blind crab.", "as long as"),
    ],
)
def test_the_validator_finds(field, value, said):
    rows = read_rows("en")
    assert rows[0]["docid"] == "river-2"
    rows[0] = rows[0] | {field: value}
    assert any(said in problem for problem in problems("en", rows, read_rows("en")))


def test_siblings_share_the_attribute_that_a_keyword_question_asks_for():
    rows = read_rows("en")
    assert len(rows) == 36
    for start in range(0, 36, 3):
        group = rows[start : start + 3]
        assert len({row["docid"].split("-")[0] for row in group}) == 1
        last = {re.sub(r"\d+", "#", re.split(r"(?<=\.) ", row["text"])[-1]) for row in group}
        assert len(last) == 1 and len({row["keyword_answer"] for row in group}) == 3


def test_no_two_languages_have_the_same_text():
    firsts = {read_rows(language)[0]["text"] for language in LANGUAGES}
    assert len(firsts) == len(LANGUAGES) == 18


def test_multilingual_form_searches_the_language_of_the_question():
    task = Demo(LANGUAGES, "multilingual").task("ko")
    assert task.corpus.name == "ko" and len(list(task.corpus.read())) == 36
    assert len(task.queries) == len(task.qrels) == 72
    assert task.qrels["keyword-river-1"] == {"river-1": 1}


def test_cross_lingual_form_searches_english_by_english_answers():
    task = Demo(LANGUAGES, "cross_lingual").task("ja")
    assert task.corpus.name == "en" and task.qrels is None and len(task.answers) == 72
    assert task.answers["paraphrase-composer-2"] == ["sister"]
    assert any("\u3040" <= letter <= "\u30ff" for letter in task.queries[0].text)


def test_long_documents_contain_one_answer_each():
    task = Demo(LANGUAGES, "long_document", 13, 0.75).task("en")
    documents = list(task.corpus.read())
    rows = {row["docid"]: row for row in read_rows("en")}
    assert len(documents) == 24 and len(task.queries) == 48
    asked = {docid for grades in task.qrels.values() for docid in grades}
    assert asked == {found.docid for found in documents}
    # Which of a group is not asked for varies.
    assert {docid[-1] for docid in rows.keys() - asked} == {"1", "2", "3"}
    for found in documents:
        parts = found.text.split("\n\n")
        assert len(parts) == 13 == len(set(parts))
        assert parts[9].endswith(rows[found.docid]["text"])  # at 3/4 of the way
        answers = [rows[docid]["paraphrase_answer"] for docid in asked]
        assert sum(normal_form(answer) in normal_form(found.text) for answer in answers) == 1
    # The 12 documents that are not asked for take turns at the beginning.
    assert len({found.text.split("\n")[0] for found in documents}) == 12


def test_a_chain_longer_than_the_texts_allow_is_refused():
    with pytest.raises(UserError, match="passages_per_document=14.*choose 1 to 13"):
        Demo(LANGUAGES, "long_document", 14).task("en")
