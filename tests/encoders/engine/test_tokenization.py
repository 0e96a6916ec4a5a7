"""A beginning is tokenised instead of a long text only where that gives the same ids."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from m3eval.encoders.e5_small_q4 import load as load_e5
from m3eval.encoders.engine.tokenization import Tokenization, slices
from m3eval.encoders.m3 import load
from m3eval.runtime import settle
from tests.conftest import words

RUNTIME = settle("cpu", "fp32", 1, 256, 100, 100)


def whole(tokenization: Tokenization) -> Tokenization:
    """The same tokeniser, reading every text to its end."""
    found = Tokenization(lambda: tokenization.tokenizer)
    found.__dict__["_words_are_apart"] = False
    return found


def hard_texts() -> list[str]:
    long = " ".join(words(seed, 60) for seed in range(20))
    return [
        long,
        long.replace(" ", "\u3000"),  # spaces of another kind
        long.replace(" ", ""),  # one word
        "漢字かな交じり文。" * 500,
        "ba " + "\u0301 " * 3000,  # combining marks alone
        " " * 5000 + long,
        "\u200b " * 4000 + long,  # a beginning that becomes nothing
        "ba <mask> da " * 500,
        "ﬁ ①ba " * 800,
        "x" * 5000 + " " + long,
        "",
        "ba",
    ]


@pytest.mark.parametrize("limit", [8, 16, 64, 128])
@pytest.mark.parametrize("special", [True, False])
def test_same_ids_and_counts_as_reading_to_the_end(m3, limit, special):
    tokenize = load("m3", "M3", str(m3), None, RUNTIME).backbone.tokenization
    assert tokenize._words_are_apart
    found, expected = (each(hard_texts(), limit, special) for each in (tokenize, whole(tokenize)))
    assert all(np.array_equal(a, b) for a, b in zip(found.ids, expected.ids, strict=True))
    assert found.truncated == expected.truncated > 5


def test_same_with_xlm_rs_own_vocabulary():
    tokenize = load_e5("e5", "E5", True, "query: ", "passage: ", RUNTIME).backbone.tokenization
    texts = hard_texts() + [
        text * 40
        for text in ("Der Hund läuft. ", "강아지가 뛴다. ", "كلب يجري. ", "कुत्ता दौड़ता है। ")
    ]
    for limit in (16, 64):
        found, expected = (each(texts, limit) for each in (tokenize, whole(tokenize)))
        assert all(np.array_equal(a, b) for a, b in zip(found.ids, expected.ids, strict=True))
        assert found.truncated == expected.truncated


def test_the_end_of_a_long_text_is_not_read(m3):
    tokenize = load("m3", "M3", str(m3), None, RUNTIME).backbone.tokenization
    text = words(0, 5000)
    assert len(tokenize._beginning(text, 16)) < len(text) / 10
    assert tokenize._beginning(text[:100], 16) == text[:100]


def test_tokenisers_that_see_across_spaces_read_to_the_end():
    across = Tokenizer(models.Unigram([("a", -1.0), (" ", -1.0), ("a a", -0.5)], 0))
    assert not Tokenization(lambda: across)._words_are_apart
    across.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    assert not Tokenization(lambda: across)._words_are_apart
    across.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.WhitespaceSplit()]
    )
    assert Tokenization(lambda: across)._words_are_apart
    across.add_tokens(["New York"])
    assert not Tokenization(lambda: across)._words_are_apart


def test_slices_hold_every_item_once_within_the_limit():
    sizes = [5, 5, 1, 20, 3, 3, 3, 3, 10]
    assert list(slices(sizes, 10)) == [(0, 2), (2, 3), (3, 4), (4, 7), (7, 8), (8, 9)]
    assert list(slices([], 10)) == []
