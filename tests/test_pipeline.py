"""The three stages together: work is done once, survives interruption, depends on no batch size."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.retrievers.run import Run, read_run
from m3eval.stages import embed, search
from m3eval.stores.cache import VectorCache

RETRIEVERS = ["dense", "sparse", "multi_vector", "dense_sparse", "all"]
ROOT = Path(__file__).resolve().parents[1]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file but those that tell how long it took."""
    files = (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("cost.json")
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_texts_to_table(pipeline):
    folder = pipeline("languages=[sw,yo]")
    scores = json.loads((folder / "scores" / "scores.json").read_text())
    assert list(scores["scores"]) == ["nDCG@10", "R@100"]
    assert set(scores["scores"]["nDCG@10"]) == set(RETRIEVERS)
    assert set(scores["scores"]["nDCG@10"]["all"]) == {"sw", "yo", "average"}
    assert scores["judged_queries"] == {"sw": 9, "yo": 5}
    assert "subset" in scores["title"]
    provenance = scores["provenance"]
    assert set(provenance["texts"]) == {"corpus-sw", "queries-sw", "corpus-yo", "queries-yo"}
    assert (
        provenance["texts"]["corpus-sw"]["count"] == 60
        and provenance["encoder"]["files"]["sparse_linear.pt"]
    )
    assert provenance["config"]["benchmark"]["subset"] and provenance["evaluated_with"]["torch"]
    rows = (folder / "scores" / "per_query.csv").read_text().splitlines()
    assert len(rows) == 1 + 5 * (9 + 5)
    assert (
        (folder / "runs" / "all" / "sw.components.tsv")
        .read_text()
        .startswith("qid\tdocid\tdense\tsparse\tmulti_vector\n")
    )


def test_second_run_finds_everything_finished(pipeline, capsys):
    folder = pipeline()
    before = snapshot(folder)
    capsys.readouterr()
    pipeline()
    out = capsys.readouterr().out
    assert out.count("found finished") == 2 + len(RETRIEVERS) and "tokens/s" not in out
    assert snapshot(folder) == before


def test_dense_finds_itself(pipeline, mirror, tmp_path):
    """A document asked for by its own text comes first, so rows, ids and scores belong together."""
    root = shutil.copytree(mirror, tmp_path / "mirror")
    topics = root / "miracl/miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv"
    rows = [
        json.loads(line) for line in _lines(root / "miracl/miracl-corpus/miracl-corpus-v1.0-sw")
    ]
    topics.write_text("".join(f"{i}\t{rows[i]['title']} {rows[i]['text']}\n" for i in range(9)))
    folder = pipeline(f"benchmark.root={root}", "benchmark.text.joint=' '")
    for retriever in ("dense", "multi_vector"):
        run = read_run(folder / "runs" / retriever / "sw.trec")
        assert [ranking.docids[0] for ranking in run.values()] == [f"{i}#0" for i in range(9)]
        assert all(abs(ranking.scores[0] - 1) < 2e-3 for ranking in run.values())


def _lines(folder: Path):
    for i in range(12):
        with gzip.open(folder / f"docs-{i}.jsonl.gz", "rt") as file:
            yield from file


@pytest.fixture(scope="module")
def plain(pipeline_in, tmp_path_factory):
    """Stores and runs with the settings that tests start from; to be read only."""
    return pipeline_in(tmp_path_factory.mktemp("plain"))("embed", "search")


@pytest.mark.parametrize(
    "settings",
    [
        ["runtime.token_budget=64"],
        ["runtime.token_budget=100000"],
        ["runtime.search_block=7"],
        ["runtime.shard_size=11", "runtime.search_block=4"],
        ["runtime.threads=2"],
        ["runtime.engine=reference"],
        ["store.multi_vector.limit_gb=0"],
    ],
)
def test_sizes_of_work_move_no_rank(pipeline, plain, settings):
    """Batches, blocks, shards, threads and stored multi-vectors change scores by rounding only."""
    other = pipeline("embed", "search", *settings)
    for name in RETRIEVERS:
        one, two = (read_run(folder / "runs" / name / "sw.trec") for folder in (plain, other))
        assert list(one) == list(two)
        for a, b in zip(one.values(), two.values(), strict=True):
            found = dict(zip(b.docids, b.scores, strict=True))
            there = np.array([found[docid] for docid in a.docids])
            # 16-bit stores: next to a rounding edge, a weight may be another by one float16 step.
            np.testing.assert_allclose(there, a.scores, atol=2e-3)
            moved = [i for i, (x, y) in enumerate(zip(a.docids, b.docids, strict=True)) if x != y]
            assert all(
                abs(a.scores[i] - there[i]) > 0 or abs(np.diff(a.scores)[max(i - 1, 0)]) < 1e-3
                for i in moved
            )


def test_same_settings_same_bytes(pipeline, tmp_path):
    one = snapshot(pipeline())
    two = snapshot(pipeline(f"output_dir={tmp_path / 'again'}"))
    scores = {name for name in one if name.endswith("scores.json")}  # holds output_dir
    assert {name: one[name] for name in one.keys() - scores} == {
        name: two[name] for name in two.keys() - scores
    }


@pytest.fixture(scope="module")
def uninterrupted(pipeline_in, tmp_path_factory):
    """The stores of a run of one thread with a shard for each text; to be read only."""
    outputs = tmp_path_factory.mktemp("uninterrupted")
    return pipeline_in(outputs)("embed", "runtime.shard_size=1") / "stores"


@pytest.mark.parametrize(
    "workers", ["runtime.threads=1", "runtime.threads=2", "runtime.processes=2"]
)
def test_kill_and_resume(uninterrupted, m3, mirror, tmp_path, workers):
    """Killed and run again: the bytes of an uninterrupted run; no finished shard is made again."""
    command = [
        sys.executable,
        str(ROOT / "step0_embed.py"),
        f"encoder.checkpoint={m3}",
        f"benchmark.root={mirror}",
        "benchmark.subset=true",
        "languages=[sw]",
        "runtime.shard_size=1",
        "runtime.precision=fp32",
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
        workers,
        f"output_dir={tmp_path}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stores = tmp_path / "miracl" / "bge_m3" / "stores"
    deadline = time.monotonic() + 60
    while len(list(stores.glob("corpus-sw/shards/0*"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # other processes of the run have noticed
    done = {path: path.stat().st_mtime_ns for path in stores.glob("corpus-sw/shards/0*/*")}
    assert 10 * 6 <= len(done) < 60 * 6, "the kill came too late to test anything"
    assert not (stores / "corpus-sw" / "manifest.json").exists()

    subprocess.run(command, check=True, capture_output=True)
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())
    assert snapshot(stores) == snapshot(uninterrupted)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("benchmark.text.max_document_length=64", "texts.max_length: 128 there, 64 asked for"),
        ("benchmark.text.joint=' '", r"texts.joint: '\n' there, ' ' asked for"),
        ("runtime.precision=bf16", "encoder.precision: 'fp32' there, 'bf16' asked for"),
    ],
)
def test_a_store_never_mixes_what_differs(pipeline, change, named):
    before = snapshot(pipeline("embed"))
    with pytest.raises(UserError) as error:
        pipeline("embed", change)
    assert named in str(error.value) and "overwrite=true" in str(error.value)
    assert snapshot(pipeline("embed")) == before


def test_overwrite_replaces(pipeline):
    one = snapshot(pipeline("embed"))
    two = snapshot(pipeline("embed", "benchmark.text.max_document_length=64", "overwrite=true"))
    assert one.keys() == two.keys() and one != two


def test_more_representations_than_asked_are_as_good_and_fewer_are_not(pipeline):
    pipeline("embed", "representations=[dense,sparse]")
    pipeline("embed", "search", "representations=[dense]")
    with pytest.raises(UserError, match="representations: .* there, .* asked for"):
        pipeline("embed")


def test_multi_vectors_are_kept_where_they_surely_stay_within_the_limit(pipeline, mirror):
    """A limit between the two keeps queries'; stage 1 encodes the candidates, to the same lists."""
    rows = [
        json.loads(line)
        for line in _lines(mirror / "miracl" / "miracl-corpus" / "miracl-corpus-v1.0-sw")
    ]
    most = 2 * 32 * sum(min(len(f"{row['title']}\n{row['text']}"), 4 * 128) for row in rows)

    def kept(limit: float) -> list[bool]:
        words = (
            "embed",
            "search",
            f"store.multi_vector.limit_gb={limit / 1e9!r}",
            f"benchmark.name=limit{limit}",
        )
        folder = pipeline(*words)
        plans = [
            json.loads((folder / "stores" / name / "manifest.json").read_text())["plan"]
            for name in ("corpus-sw", "queries-sw")
        ]
        runs.append(read_run(folder / "runs" / "multi_vector" / "sw.trec"))
        return ["multi_vector" in plan["representations"] for plan in plans]

    runs: list[Run] = []
    assert (kept(most), kept(most - 1), kept(0)) == ([True, True], [False, True], [False, False])
    for run in runs[1:]:
        assert [ranking.docids for ranking in run.values()] == [
            ranking.docids for ranking in runs[0].values()
        ]


def test_another_corpus_under_the_same_name_is_refused(pipeline, mirror, tmp_path):
    pipeline("embed")
    other = tmp_path / "mirror"
    shutil.copytree(mirror, other)
    (other / "miracl/miracl-corpus/miracl-corpus-v1.0-sw/docs-11.jsonl.gz").unlink()
    with pytest.raises(UserError, match=r"texts\.count: 60 there, 55 asked for"):
        pipeline("embed", f"benchmark.root={other}")


def test_stages_out_of_order_say_so(pipeline):
    with pytest.raises(UserError, match=r"corpus-sw does not exist: run `m3eval embed`"):
        pipeline("search")
    pipeline("embed")
    with pytest.raises(UserError, match=r"all/sw.trec does not exist: run `m3eval search`"):
        pipeline("evaluate")


def test_an_unfinished_store_is_not_searched(pipeline):
    folder = pipeline("embed")
    store = folder / "stores" / "corpus-sw"
    (store / "manifest.json").rename(store / "plan.json")
    with pytest.raises(UserError, match="is not finished"):
        pipeline("search")


def test_runs_are_made_again_when_settings_change(pipeline, capsys):
    pipeline("embed", "search")
    capsys.readouterr()
    folder = pipeline("search", "retriever.dense_sparse.weights.sparse=0.9")
    lines = [line for line in capsys.readouterr().out.splitlines() if "  written" in line]
    assert [line.split()[1] for line in lines] == [
        str(folder / "runs" / "dense_sparse" / "sw.trec")
    ]
    with pytest.raises(UserError, match="un `m3eval search` again"):
        pipeline("evaluate")


def test_published_counts_are_held(pipeline):
    with pytest.raises(UserError) as error:
        pipeline("embed", "benchmark.subset=false", "languages=[sw,yo]")
    assert "sw: 60 documents of 131,924 and 9 queries of 482 published" in str(error.value)
    assert "yo: 5 documents of 49,043" in str(error.value)  # everything at once


def test_too_long_for_the_encoder_is_refused(pipeline):
    with pytest.raises(
        UserError, match=r"asks for inputs of 8,192 tokens, encoder bge_m3 reads at most 128"
    ):
        pipeline("embed", "benchmark.text.max_document_length=8192")


def test_a_killed_stage_leaves_no_half_run(pipeline):
    folder = pipeline("embed", "search")
    manifest = folder / "runs" / "dense" / "sw.json"
    manifest.unlink()  # as if killed between the run and its manifest
    with pytest.raises(UserError, match="does not exist: run `m3eval search`"):
        pipeline("evaluate")
    pipeline("search", "evaluate")


def test_overwrite_loses_nothing_when_it_cannot_go_on(pipeline):
    before = snapshot(pipeline("embed"))
    with pytest.raises(UserError, match="published"):
        pipeline("embed", "overwrite=true", "benchmark.subset=false")
    assert snapshot(pipeline("embed")) == before


def test_relevant_documents_that_the_corpus_lacks_are_counted(pipeline, mirror, tmp_path, capsys):
    other = shutil.copytree(mirror, tmp_path / "mirror")
    qrels = other / "miracl/miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv"
    qrels.write_text(qrels.read_text() + "0 Q0 elsewhere#1 1\n")
    pipeline("embed", f"benchmark.root={other}")
    assert "; 1 of 10 relevant documents are not in the corpus" in capsys.readouterr().out
    qrels.write_text("0 Q0 elsewhere#1 1\n")
    with pytest.raises(
        UserError,
        match="not one of 1 relevant documents is in the corpus, for example 'elsewhere#1'",
    ):
        pipeline("embed", f"benchmark.root={other}")


def test_stage_1_refuses_a_store_of_other_texts(pipeline):
    pipeline("embed")
    with pytest.raises(
        UserError,
        match=r"other texts than configured now:\n"
        r"  texts.corpus-sw.source.topics_revision: 'main' there, 'v2' asked",
    ):
        pipeline("search", "benchmark.source.topics_revision=v2")
    with pytest.raises(UserError, match="max_length: 128 there, 64 asked for"):
        pipeline("search", "benchmark.text.max_document_length=64")


def test_a_run_is_held_against_the_paper_by_what_it_rests_on(pipeline):
    def verdict(*words):
        folder = pipeline(*words, "retriever=[dense]", "benchmark.metrics=[nDCG@10]")
        (cell,) = json.loads((folder / "scores" / "scores.json").read_text())["distances"][
            "nDCG@10"
        ]
        assert (cell["retriever"], cell["language"], cell["reference"]) == ("dense", "sw", 78.7)
        return cell["verdict"]

    found = verdict()
    for reason in (
        "another encoder",
        "pytorch_model.bin",
        "a subset",
        "max_document_length is 128, published with 512",
    ):
        assert reason in found, reason
    vouched = verdict("evaluate", "encoder.reference.files=null")
    assert "another encoder" not in vouched and "a subset" in vouched


def test_the_plan_states_size_and_time_and_encodes_nothing(pipeline, capsys):
    folder = pipeline("embed", "plan_only=true", "store.multi_vector.limit_gb=0")
    out = capsys.readouterr().out
    assert (
        "to encode  69 texts" in out
        and "tokens/s (measured): about" in out
        and "plan_only=true: nothing was encoded" in out
    )
    assert "in stage 1, for the candidates' multi-vectors, at most" in out
    assert not (folder / "stores").exists()
    pipeline("embed", "plan_only=true")
    assert "in stage 1" not in capsys.readouterr().out
    pipeline("embed")
    assert "measured" not in capsys.readouterr().out  # too little work to time it first


def test_own_documents_are_excluded_from_every_run_on_demand(pipeline, mirror, tmp_path):
    """As the paper's first versions did; it is part of what a run is, and the table says so."""
    root = tmp_path / "mirror"
    shutil.copytree(mirror, root)
    for path in root.glob(
        "miracl/miracl/miracl-v1.0-sw/*/*.tsv"
    ):  # questions named like the documents they come from
        lines = [
            line.replace("\t", "#0\t", 1) if "\t" in line else line.replace(" ", "#0 ", 1)
            for line in path.open()
        ]
        path.write_text("".join(lines))
    words = [f"benchmark.root={root}", "benchmark.retrieval.rerank_depth=20"]
    kept = pipeline(*words)
    folder = pipeline(
        *words, "benchmark.retrieval.exclude_self=true", f"output_dir={tmp_path / 'excluded'}"
    )
    for name in ("dense", "sparse"):
        with_self, without = (read_run(path / "runs" / name / "sw.trec") for path in (kept, folder))
        assert any(qid in ranking.docids for qid, ranking in with_self.items())
        for qid, ranking in with_self.items():
            assert without[qid].docids == [docid for docid in ranking.docids if docid != qid]
    for name in RETRIEVERS:
        assert all(
            qid not in ranking.docids
            for qid, ranking in read_run(folder / "runs" / name / "sw.trec").items()
        )
    scores = (folder / "scores/scores.json").read_text()
    assert "own document excluded" in json.loads(scores)["title"]
    assert (
        "exclude_self is true, published with false" in scores
    )  # and so comparable with no number of today's paper
    with pytest.raises(UserError, match="un `m3eval search` again"):
        pipeline("evaluate", *words, f"output_dir={tmp_path / 'excluded'}")


def test_stage_2_refuses_a_run_of_other_texts(pipeline):
    """Else a table would state a length that its runs were not made with."""
    pipeline()
    with pytest.raises(
        UserError,
        match=r"dense/sw.trec is of other texts.*\n"
        r"  texts.corpus-sw.max_length: 128 there, 64 asked for",
    ):
        pipeline("evaluate", "benchmark.text.max_document_length=64")


def test_languages_that_share_a_corpus_encode_a_candidate_once(m3, tmp_path, monkeypatch):
    """The second language reads what the first encoded; its run is the one without a cache."""
    words = [
        "benchmark=demo_cross",
        "languages=[de,fr]",
        "retriever=[dense,multi_vector]",
        f"encoder.checkpoint={m3}",
    ]
    words += [
        "runtime.precision=fp32",
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
    ]
    words += ["store.multi_vector.limit_gb=0"]  # else stage 0 keeps what is so small
    plain, cached = (
        check(
            compose(*words, f"output_dir={tmp_path / str(size)}", f"runtime.vector_cache_gb={size}")
        )
        for size in (0, 1)
    )
    reads, read = [], VectorCache.read
    monkeypatch.setattr(
        VectorCache, "read", lambda cache, rows: reads.append(len(rows)) or read(cache, rows)
    )
    for setup in (plain, cached):
        embed.run(setup)
        search.run(setup)
    assert (
        sum(reads) == 36
    )  # every document is a candidate of both languages, and was encoded for the first
    for language in ("de", "fr"):
        one, two = (
            read_run(setup.layout.run("multi_vector", language).trec) for setup in (plain, cached)
        )
        for qid, ranking in one.items():
            found = dict(zip(two[qid].docids, two[qid].scores, strict=True))
            np.testing.assert_allclose(
                [found[docid] for docid in ranking.docids], ranking.scores, atol=1e-6
            )
    assert not list(tmp_path.rglob("vectors.float16"))
