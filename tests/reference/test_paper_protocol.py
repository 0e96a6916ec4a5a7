"""The shipped protocols are those the published tables state: a full run by them is comparable cell by cell."""

import pytest
from omegaconf import OmegaConf

from m3eval.benchmarks.task import passages, queries
from m3eval.config import check, compose
from m3eval.embed import text_identity
from m3eval.reference.published import AVERAGE, numbers
from m3eval.reports.distance import Comparison, encoder_obstacle


class NoCorpus:
    """What names a text set, without texts."""

    def __init__(self, language):
        self.language, self.name = language, language
        self.corpus, self.queries = self, []


def made(setup, name, language):
    """The manifest of a run as stage 1 would write it."""
    settings = OmegaConf.to_container(setup.cfg.retriever[name], resolve=True)
    sets = (passages(NoCorpus(language), setup.rules), queries(NoCorpus(language), setup.rules))
    return {
        "language": language,
        "encoder": None,
        "settings": settings,
        "inputs": {other: made(setup, other, language) for other in settings.get("inputs", [])},
        "texts": {texts.name: text_identity(setup, texts) for texts in sets},
    }


@pytest.mark.parametrize(
    ("name", "languages", "cells"),
    [("miracl", 18, 216), ("mkqa", 25, 300), ("mldr", 13, 78), ("narrativeqa", 1, 5)],
)
def test_every_cell_of_the_paper_is_comparable(name, languages, cells):
    setup = check(compose(f"experiment=paper_{name}"))
    assert setup.cfg.encoder.name == "bge_m3" and len(setup.languages) == languages
    manifests = {(run, language): made(setup, run, language) for run in setup.cfg.retriever for language in setup.languages}
    systems = OmegaConf.to_container(setup.cfg.encoder.reference.systems)
    comparison = Comparison(setup.cfg.benchmark.reference, systems, setup.cfg.tolerance, manifests, None, [], {})
    found = 0
    for metric in setup.cfg.benchmark.metrics:
        for run in setup.cfg.retriever:
            published = dict(numbers(name, metric, systems[run]))
            assert set(setup.languages) <= set(published)
            for language in [*setup.languages, *([AVERAGE] if languages > 1 else [])]:
                distance = comparison.distance(metric, run, language, published[language].value)
                assert distance.verdict == "reproduced", (metric, run, language)
                found += language != AVERAGE
    assert found == cells


@pytest.mark.parametrize(
    ("encoder", "languages"), [("bge_m3", ["ko", "fa", "hi"]), *((f"clp_moe_{x}", [x]) for x in ("ko", "fa", "hi"))]
)
def test_the_clp_table_is_comparable(encoder, languages):
    setup = check(compose("experiment=clp_table", f"encoder={encoder}", f"languages=[{','.join(languages)}]"))
    manifests = {("dense", language): made(setup, "dense", language) for language in languages}
    systems = OmegaConf.to_container(setup.cfg.encoder.reference.systems)
    comparison = Comparison(setup.cfg.benchmark.reference, systems, setup.cfg.tolerance, manifests, None, [], {})
    for language in languages:
        distance = comparison.distance("nDCG@5", "dense", language, 60.0)
        assert distance.published.table.id == "CLP Table 4" and not distance.obstacles
    best = {"ko": 67.74, "fa": 55.56, "hi": 56.36}
    expected = best[languages[0]] if len(languages) == 1 else 64.36
    assert comparison.distance("nDCG@5", "dense", languages[0], 60.0).published.value == expected


def test_the_genuine_checkpoint_is_known_by_the_files_of_its_revision():
    files = compose("encoder=bge_m3").encoder.reference.files
    assert set(files) == {"pytorch_model.bin", "sparse_linear.pt", "colbert_linear.pt", "tokenizer.json"}
    assert all(len(value) == 64 and set(value) <= set("0123456789abcdef") for value in files.values())
    assert encoder_obstacle(files, {"files": dict(files) | {"config.json": "any"}}) is None
    assert "sparse_linear.pt" in encoder_obstacle(files, {"files": dict(files) | {"sparse_linear.pt": "0" * 64}})
