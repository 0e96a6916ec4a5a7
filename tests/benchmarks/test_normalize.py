"""Normalisations of documents: MKQA's, every class of characters, and BEIR's, which strips."""

import pytest

from m3eval.benchmarks.normalize import REPLACEMENTS, mkqa
from m3eval.benchmarks.task import Document
from m3eval.benchmarks.texts import TextRules
from m3eval.config import check, compose


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ÉCOLE İ", "école i̇"),  # lower case as Python has it
        ("a\u0001b\u000ec\u001bd", "abcd"),  # control characters go
        ("a\tb\nc\u0010d\u001fe", "a\tb\nc\u0010d\u001fe"),  # those that are not in the list stay
        ("a\u000bb\u000cc\u0085d", "a b c d"),
        ("1990–91 a—b ‐‑‒―⁃", "1990-91 a-b -----"),
        ("−5 －5 10⁻³", "-5 -5 10-³"),
        ("co\u00adoperate", "cooperate"),
        ("“a” „b‟", '"a" "b"'),
        ("‘a’ ‚b‛ o՚c ꞌx ＇y", "'a' 'b' o'c 'x 'y"),  # U+A78B becomes U+A78C when lowered
        ("a`b´c", "a'b'c"),
        ("5′ 6″ 7‴ 8⁗ ‵‶‷", "5' 6'' 7''' 8'''' ''''''"),
        ("wait… . . . now", "wait... ... now"),
        ("a . . .b", "a . . .b"),  # only with spaces around
        ("1⁄2 a∕b", "1/2 a/b"),
        ("a~b ∼ ～", "a~b ∼ ～"),  # tildes stay
        ("été 犬 ½ «x»", "été 犬 ½ «x»"),  # letters, fractions and guillemets stay
    ],
)
def test_characters_of_every_class(text, expected):
    assert mkqa(text) == expected


def test_no_character_is_in_two_classes_and_none_maps_to_itself():
    characters = [character for group in REPLACEMENTS.values() for character in group]
    assert len(characters) == len(set(characters)) == 22 + 3 + 10 + 4 + 12 + 2 + 2 + 1 + 1 + 2
    assert all(
        character not in target for target, group in REPLACEMENTS.items() for character in group
    )


def test_mkqa_normalises_the_joined_document_and_other_benchmarks_do_not():
    document = Document("1", "The Title’s", "A–B")
    assert TextRules(normalize="mkqa").text(document) == "the title's\na-b"
    assert TextRules().text(document) == "The Title’s\nA–B"


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("T", "x \n", "T x"),
        (" T ", " x", "T   x"),  # between the fields all stays
        ("", "\u3000x\u00a0", "x"),
        (" ", " ", ""),
        ("T", " ", "T"),
    ],
)
def test_a_folder_s_documents_are_joined_as_beir_joins_them(tmp_path, title, text, expected):
    """As beir.retrieval.models does: (title + " " + text).strip(), or text.strip()."""
    (tmp_path / "queries.tsv").touch()
    words = [
        "benchmark=folder",
        f"benchmark.root={tmp_path}",
        "benchmark.name=mine",
        "benchmark.language=en",
    ]
    rules = check(compose(*words)).rules
    assert rules.text(Document("1", title, text)) == expected
