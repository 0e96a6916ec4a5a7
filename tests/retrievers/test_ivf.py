"""Approximate dense search: what it finds, its scores, equal bytes, and what it refuses."""

import resource
from pathlib import Path

import numpy as np
import pytest

from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.manifests import DenseStorage
from m3eval.reading import Heading, Reading, approximate
from m3eval.reports.pairwise import PairedTests
from m3eval.reports.site.boards import SystemRow
from m3eval.reports.site.results import SiteResult
from m3eval.reports.table import ScoreTable
from m3eval.reports.table_files import markdown
from m3eval.retrievers import dense, ivf, ivf_sizes
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter
from tests.records import DENSE, provenance, run_manifest, store_plan
from tests.retrievers.stored import stored_sources
from tests.stores.damage import write_store

N, Q, WIDTH, DEPTH = 4000, 130, 32, 100


def clustered(rng, centres, n):
    vectors = centres[rng.integers(0, len(centres), n)] + 0.3 * rng.normal(size=(n, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A corpus in three shards whose last 100 documents equal its first, and queries."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, WIDTH))
    documents, queries = clustered(rng, centres, N), clustered(rng, centres, Q)
    documents[-100:] = documents[:100]
    return [
        written(tmp_path_factory.mktemp(name), name, vectors)
        for name, vectors in (("d", documents), ("q", queries))
    ]


def written(path, name, vectors, **plan):
    """A store in three shards."""
    writer = StoreWriter(path, store_plan(len(vectors), "dense", **plan))
    into = writer.start()
    for i, rows in enumerate(np.array_split(np.arange(len(vectors)), 3)):
        into.write(i, [f"{name}{row}" for row in rows], Representations(dense=vectors[rows]))
    writer.finish()
    return Store(path)


def searched(opened, scratch, threads=1, **settings):
    world = stored_sources(*opened, 700, scratch, threads=threads)
    settings = {"engine": "ivf", "probes": 12} | settings
    return dense.search(world, DEPTH, **settings), world


def lists(run):
    return [(qid, found.docids, found.scores.tobytes()) for qid, found in run.items()]


def scored_alike(run, exact):
    for qid, found in run.items():
        true = dict(zip(exact[qid].docids, exact[qid].scores, strict=True))
        both = [i for i, docid in enumerate(found.docids) if docid in true]
        np.testing.assert_allclose(
            found.scores[both], [true[found.docids[i]] for i in both], rtol=1e-5, atol=1e-6
        )


def test_finds_nearly_all_and_scores_exactly(opened, tmp_path):
    run, world = searched(opened, tmp_path)
    exact, _ = searched(opened, tmp_path, engine="exact", probes=None)
    assert world.resolved == {"lists": "64", "probes": "12"}
    assert set(world.recall) == {"10", "100"}
    shares = [len({*run[q].docids} & {*exact[q].docids}) / DEPTH for q in exact]
    assert 0.95 <= np.mean(shares) < 1
    assert world.recall["100"] == pytest.approx(np.mean(shares), abs=0.02)
    scored_alike(run, exact)
    for found in run.values():
        place = {docid: i for i, docid in enumerate(found.docids)}
        for i in range(100):  # equal documents, of which the last docid comes first
            first, twin = place.get(f"d{i}"), place.get(f"d{N - 100 + i}")
            if first is not None and twin is not None:
                assert found.scores[first] == found.scores[twin]
                assert (first < twin) == (f"d{i}" > f"d{N - 100 + i}")


def test_all_probes_miss_nothing_and_few_miss_much(opened, tmp_path):
    _, every = searched(opened, tmp_path, probes=64)
    _, one = searched(opened, tmp_path, probes=1)
    assert every.recall["100"] > 0.999
    assert one.recall["100"] < 0.9


def test_same_bytes_again_and_with_other_threads(opened, tmp_path):
    first, _ = searched(opened, tmp_path / "a")
    for folder, threads in (
        ("a", 1),
        ("b", 1),
        ("c", 3),
    ):
        again, _ = searched(opened, tmp_path / folder, threads)
        assert lists(again) == lists(first)


def test_a_corpus_of_another_language_is_indexed_once(opened, tmp_path, monkeypatch):
    searched(opened, tmp_path)
    monkeypatch.setattr(Store, "dense_blocks", None)
    with pytest.raises(TypeError):
        searched(opened, tmp_path / "other")
    monkeypatch.setattr(ivf, "recall", lambda *_: {})
    monkeypatch.setattr(dense, "best_whole", lambda *_: _Nothing())
    searched(opened, tmp_path)


def test_a_disk_that_takes_no_lists_is_the_systems_error(opened, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OSError, match="ivf-64.faiss"):
            searched(opened, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


class _Nothing:
    def run(self, *_):
        return {}


@pytest.mark.parametrize(
    ("documents", "asked", "expected"),
    [(2_000_000, None, 2048), (100_000, None, 512), (1000, None, 25), (40, None, 1), (80, 2, 2)],
)
def test_lists_by_the_size_of_the_corpus(documents, asked, expected):
    assert ivf_sizes.lists_for(documents, asked) == expected


@pytest.mark.parametrize(("documents", "asked"), [(39, None), (79, 2), (0, 1)])
def test_too_few_documents_are_refused(documents, asked):
    with pytest.raises(UserError, match=f"the corpus has {documents}: set .*engine=exact"):
        ivf_sizes.lists_for(documents, asked)


def test_more_probes_than_lists_and_settings_without_lists_are_refused(opened, tmp_path):
    with pytest.raises(UserError, match="probes=65: there are 64 lists"):
        searched(opened, tmp_path, probes=65)
    with pytest.raises(UserError, match="settings of ivf"):
        searched(opened, tmp_path, engine="exact")


def test_compressed_documents_score_as_in_exact_search(opened, tmp_path):
    vectors = opened[0].dense(np.arange(N))
    corpus = written(tmp_path / "int8", "d", vectors, dense=DenseStorage(None, "int8"))
    every, world = searched([corpus, opened[1]], tmp_path, probes=64)
    exact, _ = searched([corpus, opened[1]], tmp_path, engine="exact", probes=None)
    assert world.recall["100"] > 0.999
    scored_alike(every, exact)


def test_documents_with_windows_are_refused(opened, tmp_path):
    corpus = Store(write_store(tmp_path / "d", windows=True))
    with pytest.raises(UserError, match="one for each window: set retriever.dense.engine=exact"):
        searched([corpus, opened[1]], tmp_path)


@pytest.mark.parametrize(
    ("documents", "depth", "lists", "expected"),
    [
        (2_000_000, 1000, 2048, 132),  # 128,000 documents lie in so many
        (2_000_000, 100, 2048, 64),
        (33_000_000, 100, 8192, 128),
        (4000, 100, 64, 64),
    ],
)
def test_probes_by_depth(documents, depth, lists, expected):
    assert ivf_sizes.probes_for(documents, depth, lists, None) == expected
    assert ivf_sizes.probes_for(documents, depth, lists, 3) == 3


def test_when_lists_pay_is_said_before_they_are_made(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ivf, "build", lambda *_: pytest.fail("made"))
    with pytest.raises(pytest.fail.Exception):
        searched(opened, tmp_path)
    assert "12 of 64 lists of 4,000 documents: exact search costs less" in capsys.readouterr().out


def test_break_even():
    """Twice the documents make a query of exact search dearer, twice the probes one of lists."""
    pays = ivf_sizes.break_even(2_000_000, 1000, 2048, 132)
    assert 4_500 < pays < 7_500  # 5,900 were measured: results/scale.md
    assert ivf_sizes.pays(2_000_000, 1000, 2048, 132).endswith(
        f"they pay from about {pays:,} queries on, of all languages that search this corpus; exact "
        "search costs less for fewer"
    )
    assert ivf_sizes.break_even(4_000_000, 1000, 2048, 132) < pays
    assert ivf_sizes.break_even(2_000_000, 1000, 2048, 160) > pays
    assert ivf_sizes.break_even(2_000_000, 1000, 2048, 300) is None
    assert ivf_sizes.break_even(100_000, 1000, 512, 512) is None
    assert ivf_sizes.worth(2_000_000, 1000, pays) and not ivf_sizes.worth(2_000_000, 1000, pays - 1)
    assert not ivf_sizes.worth(39, 1000, 10**9)


def test_labels_state_the_least_recall_rounded_down():
    runs = {
        ("dense", "ko"): run_manifest(approximate={"dense": {"10": 1.0, "100": 0.989}}),
        ("dense", "sw"): run_manifest(approximate={"dense": {"10": 0.97, "100": 0.999}}),
        ("bm25", "ko"): run_manifest(),
    }
    assert approximate(runs) == {"dense": "approximate, recall@10/100 .97/.98"}


def test_every_table_has_the_label():
    said = {"dense": "approximate, recall@10/100/1000 .98/.97/.95"}
    scores = {("dense", "ko"): {"nDCG@10": {"q": 1.0}}}
    names = {"metrics": ["nDCG@10"], "languages": ["ko"], "per_query": scores}
    origin = provenance(
        benchmark={
            "label": "made up",
            "split": "test",
            "text": {"max_query_length": 512, "max_document_length": 512},
            "retrieval": {},
        },
        encoder={"name": "made_up"},
        retriever={"dense": {"_target_": DENSE}},
    )
    table = ScoreTable(
        Heading("made up", "test", False, False, None),
        Reading(512, 512),
        "an encoder",
        retrievers=["dense"],
        provenance=origin,
        approximate=said,
        **names,
    )
    assert "dense: approximate, recall@10/100/1000 .98/.97/.95" in markdown(table)
    assert table.result().approximate == said
    tests = PairedTests(
        "made up",
        systems=["dense"],
        baseline="dense",
        results=[],
        settings={"alpha": 0.05, "test": "t"},
        whole_texts=[],
        notes=[],
        provenance={},
        approximate=said,
        **names,
    )
    assert "dense: approximate, recall@10/100/1000 .98/.97/.95" in tests.legend("nDCG@10")
    row = SystemRow(SiteResult(Path("made_up"), table.result()), "dense")
    assert row.badges == ["512/512 tokens", "approximate, recall@10/100/1000 .98/.97/.95"]
