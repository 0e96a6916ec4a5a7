"""The protocols in conf/benchmark are those that the published tables state.

A full run by them is therefore comparable with the tables, cell by cell.
"""

import pytest

from m3eval.benchmarks.texts import text_sets
from m3eval.config import check, compose
from m3eval.manifests import EncoderIdentity
from m3eval.reference.published import AVERAGE, numbers
from m3eval.reports.distance import PublishedSystems, encoder_obstacle
from m3eval.retrievers.retriever import find
from m3eval.stages.evaluate import published_systems
from m3eval.stages.identity import retriever_settings, text_identity
from tests.records import run_manifest


class NoCorpus:
    """What names a text set, without texts."""

    def __init__(self, language):
        self.language, self.name = language, language
        self.corpus, self.queries, self.files, self.unread = self, [], (), None


def made(setup, name, language):
    """The manifest of a run as stage 1 would write it."""
    settings = retriever_settings(setup, name)
    inputs = {other: made(setup, other, language) for other in settings.get("inputs", [])}
    stores = {name: text for run in inputs.values() for name, text in run.stores.items()}
    if "stores" in find(settings.target).reads:
        stores = {"corpus": "a hash"}
    encoder = {name: setup.cfg.encoder.get(name) for name in ("name", "windows", "mcls")}
    return run_manifest(
        name,
        language,
        settings,
        encoder=EncoderIdentity(encoder),
        stores=stores,
        inputs=inputs,
        texts={
            texts.name: text_identity(setup, texts)
            for texts in text_sets(NoCorpus(language), setup.rules)
        },
    )


@pytest.mark.parametrize(
    ("name", "languages", "cells"),
    [("miracl", 18, 216), ("mkqa", 25, 300), ("mldr", 13, 78), ("narrativeqa", 1, 5)],
)
def test_every_cell_of_the_paper_is_comparable(name, languages, cells):
    setup = check(compose(f"experiment=paper_{name}"))
    assert setup.cfg.encoder.name == "bge_m3" and len(setup.languages) == languages
    manifests = {
        (run, language): made(setup, run, language)
        for run in setup.cfg.retriever
        for language in setup.languages
    }
    systems = published_systems(setup)
    comparison = PublishedSystems(
        setup.cfg.benchmark.reference, systems, setup.cfg.tolerance, manifests, None, [], {}
    )
    reproduced = 0
    for metric in setup.cfg.benchmark.metrics:
        for run in setup.cfg.retriever:
            published = dict(numbers(name, metric, systems[run]))
            assert set(setup.languages) <= set(published)
            for language in [*setup.languages, *([AVERAGE] if languages > 1 else [])]:
                distance = comparison.distance(metric, run, language, published[language].value)
                assert distance.verdict == "reproduced", (metric, run, language)
                reproduced += language != AVERAGE
    assert reproduced == cells


@pytest.mark.parametrize(
    ("encoder", "languages"),
    [("bge_m3", ["ko", "fa", "hi"]), *((f"clp_moe_{x}", [x]) for x in ("ko", "fa", "hi"))],
)
def test_the_clp_table_is_comparable(encoder, languages):
    setup = check(
        compose("experiment=clp_table", f"encoder={encoder}", f"languages=[{','.join(languages)}]")
    )
    manifests = {("dense", language): made(setup, "dense", language) for language in languages}
    systems = published_systems(setup)
    comparison = PublishedSystems(
        setup.cfg.benchmark.reference, systems, setup.cfg.tolerance, manifests, None, [], {}
    )
    for language in languages:
        distance = comparison.distance("nDCG@5", "dense", language, 60.0)
        assert distance.published.table.id == "CLP Table 4" and distance.comparable
    best = {"ko": 67.74, "fa": 55.56, "hi": 56.36}
    expected = best[languages[0]] if len(languages) == 1 else 64.36
    assert comparison.distance("nDCG@5", "dense", languages[0], 60.0).published.value == expected


@pytest.mark.parametrize(
    ("benchmark", "words", "system", "obstacle"),
    [
        ("mldr", "encoder=bge_m3_mcls", "M3 Dense (MCLS)", None),
        (
            "mldr",
            "encoder=bge_m3_mcls encoder.mcls=512",
            "M3 Dense (MCLS)",
            "mcls is 512, published with 256",
        ),
        ("mldr", "+encoder.mcls=256", "M3 Dense", "mcls is 256, published with None"),
        ("mldr", "encoder=e5_mistral", "E5-mistral-7b", None),
        (
            "mldr",
            "encoder=e5_mistral encoder.windows={size:512,stride:256}",
            "E5-mistral-7b",
            "windows is {'size': 512, 'stride",
        ),
        (
            "miracl",
            "encoder=me5_large encoder.windows={size:256,stride:128}",
            "mE5-large",
            "windows is {'size': 256, 'stride",
        ),
    ],
)
def test_long_documents_are_read_as_the_published_system_read_them(
    benchmark, words, system, obstacle
):
    setup = check(
        compose(f"benchmark={benchmark}", "retriever=[dense,bm25_tokens]", *words.split())
    )
    manifests = {(run, "ko"): made(setup, run, "ko") for run in ("dense", "bm25_tokens")}
    systems = published_systems(setup) | {"bm25_tokens": "BM25"}
    comparison = PublishedSystems(
        setup.cfg.benchmark.reference, systems, setup.cfg.tolerance, manifests, None, [], {}
    )
    distance = comparison.distance("nDCG@10", "dense", "ko", 40.0)
    assert distance.published.row.system == system
    about_inputs = [
        str(each)
        for each in distance.comparable.obstacles
        if str(each).startswith(("windows", "mcls"))
    ]
    assert len(about_inputs) == (obstacle is not None) and all(
        line.startswith(obstacle) for line in about_inputs
    )
    # Windows and MCLS do not change the tokens that BM25 counts.
    assert comparison.distance("nDCG@10", "bm25_tokens", "ko", 40.0).comparable


def test_the_genuine_checkpoint_is_known_by_the_files_of_its_revision():
    files = compose("encoder=bge_m3").encoder.reference.files
    assert set(files) == {
        "pytorch_model.bin",
        "sparse_linear.pt",
        "colbert_linear.pt",
        "tokenizer.json",
    }
    assert all(
        len(value) == 64 and set(value) <= set("0123456789abcdef") for value in files.values()
    )
    assert (
        encoder_obstacle(files, EncoderIdentity({"files": dict(files) | {"config.json": "any"}}))
        is None
    )
    assert "sparse_linear.pt" in encoder_obstacle(
        files, EncoderIdentity({"files": dict(files) | {"sparse_linear.pt": "0" * 64}})
    )
