"""The distance to published numbers: deltas, verdicts, and every reason for which two numbers are not comparable."""

import copy

import pytest

from m3eval.reference.published import AVERAGE
from m3eval.reports.distance import Comparison, encoder_obstacle

SYSTEMS = {"dense": "M3 Dense", "dense_sparse": "M3 Dense+Sparse"}
LANGUAGES = [
    "ar",
    "bn",
    "en",
    "es",
    "fa",
    "fi",
    "fr",
    "hi",
    "id",
    "ja",
    "ko",
    "ru",
    "sw",
    "te",
    "th",
    "zh",
    "de",
    "yo",
]


def manifest(retriever, language, settings, inputs=None):
    texts = {
        "split": "dev",
        "document_fields": ["title", "text"],
        "joint": "\n",
        "normalize": "none",
        "max_length": 512,
    }
    return {
        "retriever": retriever,
        "language": language,
        "settings": settings,
        "inputs": inputs or {},
        "encoder": {"files": {"model.safetensors": "0" * 64}},
        "stores": {f"corpus-{language}": "1" * 64, f"queries-{language}": "2" * 64},
        "texts": {
            f"corpus-{language}": texts,
            f"queries-{language}": texts | {"document_fields": None, "joint": None},
        },
    }


def made(languages):
    dense = {("dense", name): manifest("dense", name, {"depth": 1000}) for name in languages}
    weights = {"dense": 1.0, "sparse": 0.3}
    hybrid = {
        ("dense_sparse", name): manifest(
            "dense_sparse",
            name,
            {"depth": 1000, "weights": weights},
            {"dense": dense["dense", name]},
        )
        for name in languages
    }
    return copy.deepcopy(dense | hybrid)


def comparison(languages=("ko", "fa"), general=(), partial=None, **changes):
    manifests = made(languages)
    for path, value in changes.items():
        *keys, last = path.split("__")
        node = manifests["dense", languages[0]]
        for key in keys:
            node = node[
                key.replace("CORPUS", f"corpus-{languages[0]}").replace(
                    "QUERIES", f"queries-{languages[0]}"
                )
            ]
        node[last] = value
    return Comparison("miracl", SYSTEMS, 0.3, manifests, None, general, partial or {})


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (69.9, "reproduced"),
        (70.2, "reproduced"),
        (69.6, "reproduced"),
        (70.21, "differs"),
        (69.5, "differs"),
    ],
)
def test_verdict(score, verdict):
    found = comparison().distance("nDCG@10", "dense", "ko", score)
    assert (
        found.published.value == 69.9
        and found.verdict == verdict
        and found.delta == pytest.approx(score - 69.9)
    )


def test_nothing_published():
    assert comparison().distance("nDCG@3", "dense", "ko", 69.9) is None
    assert (
        Comparison("demo", SYSTEMS, 0.3, made(["ko"]), None, (), {}).distance(
            "nDCG@10", "dense", "ko", 69.9
        )
        is None
    )
    assert (
        Comparison("miracl", {}, 0.3, made(["ko"]), None, (), {}).distance(
            "nDCG@10", "dense", "ko", 69.9
        )
        is None
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"texts__CORPUS__split": "train"}, "split is 'train', published with 'dev'"),
        ({"texts__CORPUS__joint": " "}, "joint is ' '"),
        ({"texts__CORPUS__normalize": "mkqa"}, "normalize is 'mkqa', published with 'none'"),
        ({"texts__CORPUS__document_fields": ["text"]}, "document_fields is ['text']"),
        ({"texts__CORPUS__max_length": 256}, "max_document_length is 256, published with 512"),
        ({"texts__QUERIES__max_length": 64}, "max_query_length is 64"),
        (
            {"encoder__windows": {"size": 512, "stride": 256}},
            "windows is {'size': 512, 'stride': 256}, published with None",
        ),
        ({"encoder__mcls": 256}, "mcls is 256, published with None"),
        ({"settings": {"depth": 100}}, "depth is 100, published with 1000"),
        ({"general": ["another encoder"]}, "another encoder"),
        ({"partial": {"ko": "a subset"}}, "a subset"),
    ],
)
def test_what_is_not_comparable_says_why(changes, reason):
    found = comparison(**changes).distance("nDCG@10", "dense", "ko", 69.9)
    assert found.verdict.startswith("not comparable: ") and reason in found.verdict


def test_weights_and_inputs_of_a_hybrid_count():
    given = comparison()
    assert given.distance("nDCG@10", "dense_sparse", "ko", 71.2).verdict == "reproduced"
    given.manifests["dense_sparse", "ko"]["settings"]["weights"]["sparse"] = 0.5
    assert (
        "weights is {'dense': 1.0, 'sparse': 0.5}"
        in given.distance("nDCG@10", "dense_sparse", "ko", 71.2).verdict
    )
    given = comparison()
    given.manifests["dense_sparse", "ko"]["inputs"]["dense"]["settings"]["depth"] = 10
    assert "dense: depth is 10" in given.distance("nDCG@10", "dense_sparse", "ko", 71.2).verdict


def test_a_table_without_text_rules_proves_nothing():
    given = Comparison("miracl", {"dense": "MTEB BAAI/bge-m3"}, 0.3, made(["ru"]), None, (), {})
    assert (
        "does not state its text rules" in given.distance("nDCG@10", "dense", "ru", 70.156).verdict
    )


def test_the_average_is_over_the_same_languages_all_comparable():
    whole = comparison(LANGUAGES)
    assert whole.distance("nDCG@10", "dense", AVERAGE, 69.1).verdict == "reproduced"
    few = comparison(["ko", "fa"]).distance("nDCG@10", "dense", AVERAGE, 69.1)
    assert few.verdict == "not comparable: average over 2 languages, published over 18"
    broken = comparison(LANGUAGES, partial={"yo": "a subset"})
    assert broken.distance("nDCG@10", "dense", AVERAGE, 69.1).verdict == "not comparable: a subset"


def test_encoder_is_known_by_its_files():
    files = {"a.bin": "1", "b.pt": "2"}
    assert encoder_obstacle(files, {"files": {"a.bin": "1", "b.pt": "2", "c.json": "3"}}) is None
    assert "(b.pt)" in encoder_obstacle(files, {"files": {"a.bin": "1", "b.pt": "9"}})
    assert "(a.bin, b.pt)" in encoder_obstacle(files, {"family": "without files"})
    assert encoder_obstacle(None, {"files": {"a.bin": "x"}}) is None  # the user vouches


def test_coverage():
    given = comparison(["ko"])
    found = [
        given.distance("nDCG@10", "dense", "ko", 69.9),
        given.distance("nDCG@10", "dense_sparse", "ko", 60.0),
    ]
    line = given.coverage(found, ["nDCG@10", "R@100"])
    assert line == (
        "2 of 72 published numbers (M3 Table 1 and M3 Table 12) covered: 1 reproduced within 0.3 points, 1 differ"
    )
    foreign = comparison(["ko"], general=["another encoder"])
    line = foreign.coverage([foreign.distance("nDCG@10", "dense", "ko", 69.9)], ["nDCG@10"])
    assert line.startswith("0 of 36 ") and line.endswith("; 1 more are not comparable")


def test_only_runs_with_an_encoder_are_held_to_the_published_one():
    manifests = made(["ko"])
    files = {"model.safetensors": "1" * 64}
    strict = Comparison("miracl", SYSTEMS, 0.3, manifests, files, (), {})
    assert "another encoder" in strict.distance("nDCG@10", "dense", "ko", 69.9).verdict
    manifests["dense", "ko"]["encoder"] = None
    assert strict.distance("nDCG@10", "dense", "ko", 69.9).verdict == "reproduced"
