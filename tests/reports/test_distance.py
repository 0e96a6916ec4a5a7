"""The distance to published numbers: deltas, verdicts, and why two numbers are not comparable."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from m3eval.config import Setup, compose
from m3eval.manifests import EncoderIdentity
from m3eval.reference.published import AVERAGE, tables
from m3eval.reports.distance import PublishedSystems, encoder_obstacle
from m3eval.stages import evaluate
from m3eval.stages.identity import retriever_settings
from tests.records import run_manifest, text_identity

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = {"dense": "M3 Dense", "dense_sparse": "M3 Dense+Sparse"}
LANGUAGES = [
    "ar", "bn", "en", "es", "fa", "fi", "fr", "hi", "id",
    "ja", "ko", "ru", "sw", "te", "th", "zh", "de", "yo",
]  # fmt: skip
WEIGHTS = {"dense": 1.0, "sparse": 0.3}


def manifests_of(languages):
    """Runs of the paper's settings, dense and hybrid."""
    dense = {("dense", name): run_manifest("dense", name) for name in languages}
    hybrid = {
        ("dense_sparse", name): run_manifest(
            "dense_sparse", name, {"weights": WEIGHTS}, inputs={"dense": dense["dense", name]}
        )
        for name in languages
    }
    return dense | hybrid


def published_systems(languages=("ko", "fa"), general=(), partial=None, texts=(), **changes):
    """The published systems of runs. Changes are to the first language's dense run.

    Args:
        languages: of the runs.
        general: obstacles of every run.
        partial: obstacles by language.
        texts: changes to text sets: corpus or queries, the field, and its value.
        changes: to other fields of the manifest.
    """
    manifests = manifests_of(languages)
    key = ("dense", languages[0])
    for kind, name, value in texts:
        text_set = f"{kind}-{languages[0]}"
        changed = text_identity(text_set, **{name: value})
        changes["texts"] = manifests[key].texts | {text_set: changed}
    manifests[key] = replace(manifests[key], **changes)
    return PublishedSystems("miracl", SYSTEMS, 0.3, manifests, None, general, partial or {})


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
    distance = published_systems().distance("nDCG@10", "dense", "ko", score)
    assert distance.published.value == 69.9
    assert distance.verdict == verdict
    assert distance.delta == pytest.approx(score - 69.9)


@pytest.mark.parametrize(
    ("benchmark", "systems", "metric"),
    [("miracl", SYSTEMS, "nDCG@3"), ("demo", SYSTEMS, "nDCG@10"), ("miracl", {}, "nDCG@10")],
)
def test_nothing_published(benchmark, systems, metric):
    published = PublishedSystems(benchmark, systems, 0.3, manifests_of(["ko"]), None, (), {})
    assert published.distance(metric, "dense", "ko", 69.9) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"texts": [("corpus", "split", "train")]}, "split is 'train', published with 'dev'"),
        ({"texts": [("corpus", "joint", " ")]}, "joint is ' '"),
        (
            {"texts": [("corpus", "normalize", "mkqa")]},
            "normalize is 'mkqa', published with 'none'",
        ),
        ({"texts": [("corpus", "document_fields", ["text"])]}, "document_fields is ['text']"),
        (
            {"texts": [("corpus", "max_length", 256)]},
            "max_document_length is 256, published with 512",
        ),
        ({"texts": [("queries", "max_length", 64)]}, "max_query_length is 64"),
        (
            {"encoder": EncoderIdentity({"name": "m3", "windows": {"size": 512, "stride": 256}})},
            "windows is {'size': 512, 'stride': 256}, published with None",
        ),
        (
            {"encoder": EncoderIdentity({"name": "m3", "mcls": 256})},
            "mcls is 256, published with None",
        ),
        (
            {"settings": run_manifest(settings={"depth": 100}).settings},
            "depth is 100, published with 1000",
        ),
        ({"general": ["another encoder"]}, "another encoder"),
        ({"partial": {"ko": "a subset"}}, "a subset"),
    ],
)
def test_what_is_not_comparable_says_why(changes, reason):
    distance = published_systems(**changes).distance("nDCG@10", "dense", "ko", 69.9)
    assert distance.verdict.startswith("not comparable: ")
    assert reason in distance.verdict


def test_weights_and_inputs_of_a_hybrid_count():
    def verdict():
        return published.distance("nDCG@10", "dense_sparse", "ko", 71.2).verdict

    published = published_systems()
    assert verdict() == "reproduced"
    key = ("dense_sparse", "ko")
    other = WEIGHTS | {"sparse": 0.5}
    published.manifests[key] = run_manifest("dense_sparse", settings={"weights": other})
    assert "weights is {'dense': 1.0, 'sparse': 0.5}" in verdict()
    published = published_systems()
    shallow = run_manifest("dense", settings={"depth": 10})
    published.manifests[key] = replace(published.manifests[key], inputs={"dense": shallow})
    assert "dense: depth is 10" in verdict()


def test_a_table_without_text_rules_proves_nothing():
    systems = {"dense": "MTEB BAAI/bge-m3"}
    published = PublishedSystems("miracl", systems, 0.3, manifests_of(["ru"]), None, (), {})
    distance = published.distance("nDCG@10", "dense", "ru", 70.156)
    assert "does not state its text rules" in distance.verdict


def test_a_retriever_over_words_has_its_published_row_beside_any_encoder():
    words = ["benchmark=folder", "benchmark.root=x", "benchmark.name=xquad"]
    cfg = compose(*words, "encoder=e5_small_q4", "retriever=[dense,bm25,bm25s]")
    named = evaluate.published_systems(Setup(cfg))
    assert "reference" not in retriever_settings(Setup(cfg), "bm25s")  # it decides no run
    assert named == {"bm25": "BM25 (Analyzer)", "bm25s": "MTEB mteb/baseline-bm25s"}
    runs = {("bm25s", name): run_manifest("bm25s", name, encoder=None) for name in ("ar", "el")}
    published = PublishedSystems("xquad", named, 0.3, runs, None, (), {})
    assert published.distance("nDCG@10", "bm25s", "ar", 88.8).published.value == 88.812
    assert published.distance("nDCG@10", "bm25s", "el", 88.8) is None
    (line,) = published.lacking("nDCG@10")
    assert line == "MTEB XQuADRetrieval of MTEB mteb/baseline-bm25s lack el"
    assert published.lacking("R@100") == []  # where there is nothing at all, nothing lacks


def test_every_system_that_a_configuration_or_a_row_names_is_stored():
    stored = {row.system for table in tables() for row in table.rows}
    named = {row.same_as for table in tables() for row in table.rows}
    for path in (ROOT / "conf/encoder").glob("*.yaml"):
        if reference := OmegaConf.load(path).get("reference"):
            named |= {*reference.systems.values()}
    for path in (ROOT / "conf/retriever").glob("*.yaml"):
        named.add(OmegaConf.load(path).get("reference"))
    assert len(named) > 15 and named - {None} <= stored


def test_what_others_measured_of_a_system_stands_where_its_own_rows_have_nothing():
    systems, runs = {"dense": "mE5-large"}, {("dense", "ar"): run_manifest("dense", "ar")}
    of_xquad = PublishedSystems("xquad", systems, 0.3, runs, None, (), {})
    distance = of_xquad.distance("nDCG@10", "dense", "ar", 96.0)
    assert distance.published.row.system == "MTEB intfloat/multilingual-e5-large"
    of_miracl = PublishedSystems("miracl", systems, 0.3, runs, None, (), {})
    distance = of_miracl.distance("nDCG@10", "dense", "ar", 76.0)
    assert distance.published.row.system == "mE5-large"
    # What stands behind the system's own numbers does not count as left out.
    assert " of 18 published numbers (M3 Table 1)" in of_miracl.coverage([distance], ["nDCG@10"])


def test_an_average_without_cells_is_held_to_its_tables_rules():
    systems = {"bm25": "BM25 (Analyzer)"}
    languages = next(table for table in tables() if table.id == "M3 Table 11 (MKQA)").languages
    runs = {("bm25", name): run_manifest("bm25", name, encoder=None) for name in languages}
    published = PublishedSystems("mkqa", systems, 0.3, runs, None, (), {})
    distance = published.distance("R@100", "bm25", AVERAGE, 40.9)
    assert "does not state its text rules" in distance.verdict


def test_the_average_is_over_the_same_languages_all_comparable():
    whole = published_systems(LANGUAGES)
    assert whole.distance("nDCG@10", "dense", AVERAGE, 69.1).verdict == "reproduced"
    few = published_systems(["ko", "fa"]).distance("nDCG@10", "dense", AVERAGE, 69.1)
    assert few.verdict == "not comparable: average over 2 languages, published over 18"
    broken = published_systems(LANGUAGES, partial={"yo": "a subset"})
    assert broken.distance("nDCG@10", "dense", AVERAGE, 69.1).verdict == "not comparable: a subset"


def test_encoder_is_known_by_its_files():
    def obstacle(files, settings):
        return encoder_obstacle(files, EncoderIdentity({"name": "e", **settings}))

    files = {"a.bin": "1", "b.pt": "2"}
    assert obstacle(files, {"files": {"a.bin": "1", "b.pt": "2", "c.json": "3"}}) is None
    assert "(b.pt)" in obstacle(files, {"files": {"a.bin": "1", "b.pt": "9"}})
    assert "(a.bin, b.pt)" in obstacle(files, {"family": "without files"})
    assert obstacle(None, {"files": {"a.bin": "x"}}) is None  # the user vouches


def test_coverage():
    published = published_systems(["ko"])
    distances = [
        published.distance("nDCG@10", "dense", "ko", 69.9),
        published.distance("nDCG@10", "dense_sparse", "ko", 60.0),
    ]
    line = published.coverage(distances, ["nDCG@10", "R@100"])
    assert line == (
        "2 of 72 published numbers (M3 Table 1 and M3 Table 12) covered: "
        "1 reproduced within 0.3 points, 1 differ"
    )
    foreign = published_systems(["ko"], general=["another encoder"])
    line = foreign.coverage([foreign.distance("nDCG@10", "dense", "ko", 69.9)], ["nDCG@10"])
    assert line.startswith("0 of 36 ") and line.endswith("; 1 more are not comparable")


def test_only_runs_with_an_encoder_are_held_to_the_published_one():
    manifests = manifests_of(["ko"])
    files = {"model.safetensors": "1" * 64}
    strict = PublishedSystems("miracl", SYSTEMS, 0.3, manifests, files, (), {})
    assert "another encoder" in strict.distance("nDCG@10", "dense", "ko", 69.9).verdict
    manifests["dense", "ko"] = replace(manifests["dense", "ko"], encoder=None)
    assert strict.distance("nDCG@10", "dense", "ko", 69.9).verdict == "reproduced"
