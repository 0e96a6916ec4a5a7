"""Answer recall against a literal re-implementation of DPR's matching, and its edges."""

import random
import unicodedata

import numpy as np
import pytest
import regex

from m3eval.benchmarks.task import Corpus, Task
from m3eval.metrics.answers import ASCII_TOKEN, TOKEN, by_answers, has_unspaced, tokenize
from m3eval.metrics.names import parse
from m3eval.retrievers.run import Ranking


def literal_has_answer(answers, text):
    """Token lists compared position by position, as DPR's has_answer does."""
    pattern = regex.compile(
        r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
    )

    def tokens(string):
        return [
            match.group().lower()
            for match in pattern.finditer(unicodedata.normalize("NFD", string))
        ]

    words = tokens(text)
    for answer in map(tokens, answers):
        if any(words[i : i + len(answer)] == answer for i in range(len(words) - len(answer) + 1)):
            return True
    return False


def run(**lists):
    return {
        qid: Ranking(docids, np.arange(len(docids), 0, -1).astype(np.float32))
        for qid, docids in lists.items()
    }


@pytest.mark.parametrize(
    ("answer", "text", "hit"),
    [
        ("1902", "built in 1902.", True),
        ("190", "built in 1902.", False),  # whole tokens
        ("New York", "in new  YORK city", True),  # case and white space
        ("York New", "in New York", False),
        ("café", "the cafe\u0301 there", True),  # NFC and NFD
        ("cafe", "the café there", False),  # accents count
        ("12.5%", "about 12.5 % of", True),
        (
            "o'brien",
            "Mr O’Brien",
            False,
        ),  # unlike apostrophes do not match: the reference's behaviour
        ("犬", "大きな犬がいる", False),  # a run of letters is one token, in any script
        ("...", "wait ... what", True),
        ("ΟΔΟΣ", "η ΟΔΟΣ'Α", True),  # a sigma that is final in its token but not in the text
        ("ΣΑΣ", "σας", True),
        ("İstanbul", "in İSTANBUL", True),
        ("\u200b", "anything", True),  # no token at all matches everything, as in the reference
    ],
)
def test_matching(answer, text, hit):
    (found,) = by_answers([run(q=["d"])], {"q": [answer]}, [("d", text)], [parse("R@1")])
    assert found["R@1"]["q"] == float(hit) == float(literal_has_answer([answer], text))


def test_against_the_literal_form_on_random_rankings():
    rng = random.Random(0)
    words = ["a", "b", "ab", "A", "é", "é", "1", ".", "-", "犬", "b-a"]
    documents = [(f"d{i}", " ".join(rng.choices(words, k=8))) for i in range(60)]
    texts = dict(documents)
    answers = {
        f"q{i}": [
            " ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(rng.randint(1, 3))
        ]
        for i in range(80)
    }
    answers |= {"never": ["zzz"], "empty": ["a"], "absent": ["a"]}
    ranking = run(
        **{qid: rng.sample(list(texts), 30) for qid in answers if qid not in ("empty", "absent")},
        empty=[],
    )
    cutoffs = (1, 5, 20, 100)
    metrics = [parse(f"R@{k}") for k in cutoffs]
    (found,) = by_answers([ranking], answers, documents, metrics)
    for k in cutoffs:
        for qid, strings in answers.items():
            docids = ranking[qid].docids[:k] if qid in ranking else []
            assert found[f"R@{k}"][qid] == float(
                any(literal_has_answer(strings, texts[docid]) for docid in docids)
            )
    assert set(found["R@1"]) == set(answers)  # the mean is over all questions
    assert 0 < np.mean(list(found["R@5"].values())) < 1


def test_the_denominator_of_the_reference_leaves_out_questions_that_found_nothing():
    """FlagEmbedding's script averages over the run file: what has no line there does not count."""
    answers = {"hit": ["a"], "miss": ["zzz"], "empty": ["a"], "absent": ["a"]}
    runs, texts = [run(hit=["d"], miss=["d"], empty=[])], [("d", "a b")]
    (scores,) = by_answers(runs, answers, texts, [parse("R@1")])
    assert np.mean(list(scores["R@1"].values())) == 1 / 4
    (scores,) = by_answers(runs, answers, texts, [parse("R@1")], "run")
    assert scores["R@1"] == {"hit": 1.0, "miss": 0.0}


@pytest.mark.parametrize(
    ("answer", "text", "hit"),
    [
        ("北京", "中国的首都是北京，人口两千多万。", True),
        ("南京", "中国的首都是北京，人口两千多万。", False),
        ("京北", "首都是北京", False),
        ("東京", "彼は東京タワーに行った", True),
        ("タワー", "彼は東京タワーに行った", True),
        ("か", "がある", False),  # a mark belongs to its letter
        ("กรุงเทพ", "เมืองหลวงคือกรุงเทพมหานคร", True),
        ("วันที่ ๑๒", "ในวันที่ ๑๒ มกราคม", True),
        ("๑", "ในวันที่ ๑๒ มกราคม", False),  # digits stay together
        ("ວຽງຈັນ", "ນະຄອນຫຼວງວຽງຈັນ", True),
        ("ភ្នំពេញ", "រាជធានីភ្នំពេញ", True),
        ("ရန်ကုန်", "မြို့တော်ရန်ကုန်မြို့", True),
        ("iPhone", "新しいiPhoneの価格", True),
        ("Phone", "新しいiPhoneの価格", False),  # whole words where there are words
        ("2011年", "平成は2011年", True),
        ("11年", "平成は2011年", False),
        ("서울", "서울은 크다", False),  # Korean has spaces: whole tokens, as before
        ("190", "built in 1902.", False),
        ("New York", "in new  YORK city", True),
        ("café", "the cafe\u0301 there", True),
        ("ΟΔΟΣ", "η ΟΔΟΣ'Α", True),
    ],
)
def test_scripts_without_spaces_are_matched_by_characters(answer, text, hit):
    """Only where that is asked for: MKQA's figures rest on DPR's tokens."""
    runs, k = [run(q=["d"])], [parse("R@1")]
    (found,) = by_answers(runs, {"q": [answer]}, [("d", text)], k, matching="characters")
    assert found["R@1"]["q"] == float(hit)
    (found,) = by_answers(runs, {"q": [answer]}, [("d", text)], k)
    assert found["R@1"]["q"] == float(literal_has_answer([answer], text))


def test_both_rules_agree_where_no_script_lacks_spaces():
    rng = random.Random(1)
    letters = [
        "a",
        "B",
        "é",
        "e\u0301",
        "ß",
        "ω",
        "ς",
        "1",
        "٣",
        "क्",
        "ि",
        "서",
        "-",
        ".",
        " ",
        "א",
    ]
    for _ in range(300):
        text = "".join(rng.choices(letters, k=12))
        assert tokenize(text, "characters") == tokenize(text) and not has_unspaced([text])
    assert has_unspaced(["abc", "a犬"]) and not has_unspaced(["犬".encode().hex()])


def test_mkqa_is_judged_by_the_tokens_of_its_protocol():
    assert Task("ja", Corpus("nq", lambda: iter([])), [], answers={}).matching == "tokens"


def test_several_runs_are_judged_in_one_pass():
    answers, texts = {"p": ["a"], "q": ["b"]}, [("d", "a"), ("e", "b"), ("f", "a b")]
    runs = [run(p=["e", "d"], q=["e"]), run(p=["f"]), run(q=["d", "e"], p=["e"])]
    metrics, passes = [parse("R@1"), parse("R@2")], []

    def documents():
        passes.append(1)
        yield from texts

    together = by_answers(runs, answers, documents(), metrics)
    assert together == [by_answers([each], answers, texts, metrics)[0] for each in runs]
    assert [scores["R@1"]["p"] for scores in together] == [0.0, 1.0, 0.0] and len(passes) == 1


def test_ascii_has_its_own_expression_that_finds_the_same():
    for one in map(chr, range(128)):
        for text in (one, f"a{one}b", f"{one}{one}7"):
            assert ASCII_TOKEN.findall(text) == TOKEN.findall(text), repr(text)
