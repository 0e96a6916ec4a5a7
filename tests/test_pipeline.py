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
from m3eval.manifests import Result, RunCost, StoreCost, StoreManifest
from m3eval.records import read
from m3eval.retrievers.run import Run, read_run
from m3eval.stages import embed, search
from m3eval.stores.cache import VectorCache
from tests.needs import needs

RETRIEVERS = ["dense", "sparse", "multi_vector", "dense_sparse", "all"]
ROOT = Path(__file__).resolve().parents[1]


def snapshot(folder: Path) -> dict[str, bytes]:
    """The bytes of every file but those that tell how long it took."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("cost.json")
    }


def test_texts_to_table(pipeline):
    folder = pipeline("languages=[sw,yo]")
    result = read(folder / "scores/scores.json", Result)
    assert list(result.scores) == ["nDCG@10", "R@100"]
    assert list(result.scores["nDCG@10"]) == RETRIEVERS
    assert {*result.scores["nDCG@10"]["all"]} == {"sw", "yo", "average"}
    assert result.judged_queries == {"sw": 9, "yo": 5}
    assert "subset" in result.title
    origin = result.provenance
    assert {*origin.texts} == {"corpus-sw", "queries-sw", "corpus-yo", "queries-yo"}
    assert origin.texts["corpus-sw"].count == 60
    assert origin.encoder.files["sparse_linear.pt"]
    assert origin.config["benchmark"]["subset"]
    assert origin.evaluated_with["torch"]
    rows = (folder / "scores/per_query.csv").read_text().splitlines()
    assert len(rows) == 1 + 5 * (9 + 5)
    components = (folder / "runs/all/sw.components.tsv").read_text()
    assert components.startswith("qid\tdocid\tdense\tsparse\tmulti_vector\n")


@pytest.mark.parametrize(
    ("words", "attention"),
    [
        (["runtime.precision=fp32"], "equal_runs"),
        (["runtime.precision=bf16"], "equal_runs_by_products"),
        (["runtime.engine=reference"], "transformers' sdpa"),
        pytest.param(["runtime.precision=int8"], "OpenVINO's", marks=needs("openvino")),
    ],
)
def test_costs_say_which_attention_ran(pipeline, words, attention):
    """Of runs: where their search encoded texts again, and only there."""
    again = ["store.multi_vector.limit_gb=0", "retriever=[dense,multi_vector]"]
    folder = pipeline("embed", "search", *again, *words)
    assert read(folder / "stores/corpus-sw/cost.json", StoreCost).attention == attention
    assert read(folder / "stores/queries-sw/cost.json", StoreCost).attention == attention
    assert read(folder / "runs/multi_vector/sw.cost.json", RunCost).attention == attention
    assert read(folder / "runs/dense/sw.cost.json", RunCost).attention is None


@needs("openvino")
def test_8_bits_are_told_wherever_scores_stand(pipeline, capsys):
    folder = pipeline("runtime.precision=int8", "retriever=[dense,bm25s]")
    said = "dense: computed in 8 bits (runtime.precision=int8)"
    assert said in capsys.readouterr().out
    assert read(folder / "scores/scores.json", Result).notes == [said]
    assert f"\n{said}\n" in (folder / "scores/scores.md").read_text()
    plan = read(folder / "stores/corpus-sw/manifest.json", StoreManifest).plan
    assert plan.encoder["precision"] == "int8"
    assert plan.made_with["engine"] == "openvino engine" and plan.made_with["openvino"] >= "2026"
    with pytest.raises(UserError, match=r"encoder.precision: 'int8' there, 'fp32' asked for"):
        pipeline("embed")


def test_costs_of_several_processes_say_it_once(pipeline):
    folder = pipeline("embed", "runtime.processes=2", "runtime.shard_size=20")
    cost = read(folder / "stores/corpus-sw/cost.json", StoreCost)
    assert (cost.attention, cost.runtime.count("2 processes")) == ("equal_runs", 1)


def test_second_run_finds_everything_finished(pipeline, capsys):
    folder = pipeline()
    before = snapshot(folder)
    capsys.readouterr()
    pipeline()
    out = capsys.readouterr().out
    assert out.count("found finished") == 2 + len(RETRIEVERS)
    assert "tokens/s" not in out
    assert snapshot(folder) == before


def test_dense_finds_itself(pipeline, mirror, tmp_path):
    """A document asked for by its own text comes first, so rows, ids and scores belong together."""
    root = shutil.copytree(mirror, tmp_path / "mirror")
    topics = root / "miracl/miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv"
    rows = documents_of(root)
    topics.write_text("".join(f"{i}\t{rows[i]['title']} {rows[i]['text']}\n" for i in range(9)))
    folder = pipeline(f"benchmark.root={root}", "benchmark.text.joint=' '")
    for retriever in ("dense", "multi_vector"):
        run = read_run(folder / "runs" / retriever / "sw.trec")
        assert [ranking.docids[0] for ranking in run.values()] == [f"{i}#0" for i in range(9)]
        assert all(abs(ranking.scores[0] - 1) < 2e-3 for ranking in run.values())


def documents_of(root: Path) -> list[dict[str, str]]:
    """The Swahili documents of a mirror."""
    rows = []
    for i in range(12):
        path = root / f"miracl/miracl-corpus/miracl-corpus-v1.0-sw/docs-{i}.jsonl.gz"
        with gzip.open(path, "rt") as file:
            rows += map(json.loads, file)
    return rows


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
        run, other_run = (read_run(folder / f"runs/{name}/sw.trec") for folder in (plain, other))
        assert list(run) == list(other_run)
        for qid, ranking in run.items():
            scores = scores_in(other_run, qid, ranking.docids)
            # 16-bit stores: next to a rounding edge, a weight may be another by one float16 step.
            np.testing.assert_allclose(scores, ranking.scores, atol=2e-3)
            steps = np.abs(np.diff(ranking.scores))
            for i, (docid, other_docid) in enumerate(
                zip(ranking.docids, other_run[qid].docids, strict=True)
            ):
                if docid != other_docid:  # only scores that rounding moved, or near ties
                    assert ranking.scores[i] != scores[i] or steps[max(i - 1, 0)] < 1e-3


def scores_in(run: Run, qid: str, docids: list[str]) -> np.ndarray:
    """The scores of documents in another run."""
    scores = dict(zip(run[qid].docids, run[qid].scores, strict=True))
    return np.array([scores[docid] for docid in docids])


def test_same_settings_same_bytes(pipeline, tmp_path):
    files, again = snapshot(pipeline()), snapshot(pipeline(f"output_dir={tmp_path / 'again'}"))
    assert files.keys() == again.keys()
    # scores.json holds the output folder.
    assert {name for name in files if files[name] != again[name]} == {"scores/scores.json"}


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
    assert named in str(error.value)
    assert "overwrite=true" in str(error.value)
    assert snapshot(pipeline("embed")) == before


def test_overwrite_replaces(pipeline):
    before = snapshot(pipeline("embed"))
    after = snapshot(pipeline("embed", "benchmark.text.max_document_length=64", "overwrite=true"))
    assert before.keys() == after.keys()
    assert before != after


def test_more_representations_than_asked_are_as_good_and_fewer_are_not(pipeline):
    pipeline("embed", "representations=[dense,sparse]")
    pipeline("embed", "search", "representations=[dense]")
    with pytest.raises(UserError, match="representations: .* there, .* asked for"):
        pipeline("embed")


def test_multi_vectors_are_kept_where_they_surely_stay_within_the_limit(pipeline, mirror):
    """A limit between the two keeps queries'; stage 1 encodes the candidates, to the same lists."""
    rows = documents_of(mirror)
    characters = sum(min(len(f"{row['title']}\n{row['text']}"), 4 * 128) for row in rows)
    most = 2 * 32 * characters  # bytes of the documents' vectors at most
    runs: list[Run] = []

    def stored(limit: float) -> tuple[bool, ...]:
        """Whether the stores of documents and of queries have multi-vectors."""
        words = (f"store.multi_vector.limit_gb={limit / 1e9!r}", f"benchmark.name=limit{limit}")
        folder = pipeline("embed", "search", *words)
        runs.append(read_run(folder / "runs/multi_vector/sw.trec"))
        manifests = (folder / f"stores/{name}-sw/manifest.json" for name in ("corpus", "queries"))
        plans = (read(path, StoreManifest).plan for path in manifests)
        return tuple("multi_vector" in plan.representations for plan in plans)

    assert stored(most) == (True, True)
    assert stored(most - 1) == (False, True)
    assert stored(0) == (False, False)
    first, *others = ([ranking.docids for ranking in run.values()] for run in runs)
    assert all(docids == first for docids in others)


def test_exhaustive_maxsim_is_the_same_for_any_threads_and_stores(pipeline):
    """Encoded for it by one thread or three, or read: and candidates' scores are the same ones."""
    runs, files = [], []
    # Several packs of queries, too: all threads compute one that is alone (engine/execution.py).
    words = ("retriever=[dense,multi_vector,multi_vector_exhaustive]", "runtime.token_budget=64")
    for threads, limit in ((1, 0), (3, 0), (1, 10)):
        folder = pipeline(
            "embed",
            "search",
            *words,
            f"runtime.threads={threads}",
            f"store.multi_vector.limit_gb={limit}",
            f"benchmark.name=threads{threads}limit{limit}",
        )
        path = folder / "runs/multi_vector_exhaustive/sw.trec"
        files.append(path.read_bytes())
        runs.append(read_run(path))
    assert files[0] == files[1] and files[0]
    assert not list(folder.parent.rglob("vectors.float16"))
    encoded, _, stored = runs
    reranked = read_run(folder / "runs/multi_vector/sw.trec")
    for qid, ranking in stored.items():
        assert len(ranking.docids) == 60  # every document
        for other in (encoded, reranked):
            found = scores_in(other, qid, ranking.docids)
            np.testing.assert_allclose(found, ranking.scores, atol=1e-5)


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
    assert [line.split()[1] for line in lines] == [str(folder / "runs/dense_sparse/sw.trec")]
    with pytest.raises(UserError, match="un `m3eval search` again"):
        pipeline("evaluate")


def test_published_counts_are_held(pipeline):
    with pytest.raises(UserError) as error:
        pipeline("embed", "benchmark.subset=false", "languages=[sw,yo]")
    assert "sw: 60 documents of 131,924 and 9 queries of 482 published" in str(error.value)
    assert "yo: 5 documents of 49,043" in str(error.value)  # everything at once


def test_too_long_for_the_encoder_is_refused(pipeline):
    said = "asks for inputs of 8,192 tokens, encoder bge_m3 reads at most 128"
    with pytest.raises(UserError, match=said):
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
    said = "sw: 1 of 10 relevant documents are not in the corpus, for example elsewhere#1"
    assert said in capsys.readouterr().out
    qrels.write_text("0 Q0 elsewhere#1 1\n")
    said = "not one of 1 relevant documents is in the corpus: .* is 'elsewhere#1', one"
    with pytest.raises(UserError, match=said):
        pipeline("embed", f"benchmark.root={other}")


def test_stage_1_refuses_a_store_of_other_texts(pipeline):
    pipeline("embed")
    said = (
        r"other texts than configured now:\n"
        r"  texts.corpus-sw.joint: '\\n' there, ' ' asked"
    )
    with pytest.raises(UserError, match=said):
        pipeline("search", "benchmark.text.joint=' '")
    with pytest.raises(UserError, match="max_length: 128 there, 64 asked for"):
        pipeline("search", "benchmark.text.max_document_length=64")


def test_a_run_is_held_against_the_paper_by_what_it_rests_on(pipeline):
    def verdict(*words):
        folder = pipeline(*words, "retriever=[dense]", "benchmark.metrics=[nDCG@10]")
        (distance,) = read(folder / "scores/scores.json", Result).distances["nDCG@10"]
        assert (distance.retriever, distance.language) == ("dense", "sw")
        assert distance.reference == 78.7
        return distance.verdict

    of_files = verdict()
    for reason in (
        "another encoder",
        "pytorch_model.bin",
        "a subset",
        "max_document_length is 128, published with 512",
    ):
        assert reason in of_files, reason
    vouched = verdict("evaluate", "encoder.reference.files=null")
    assert "another encoder" not in vouched
    assert "a subset" in vouched


def test_the_plan_states_size_and_time_and_encodes_nothing(pipeline, capsys):
    folder = pipeline("embed", "plan_only=true", "store.multi_vector.limit_gb=0")
    out = capsys.readouterr().out
    for part in (
        "to encode  69 texts",
        "tokens/s (measured): about",
        "plan_only=true: nothing was encoded",
        "in stage 1, for the candidates' multi-vectors, at most",
    ):
        assert part in out, part
    assert not (folder / "stores").exists()
    pipeline("embed", "plan_only=true")
    assert "in stage 1" not in capsys.readouterr().out
    pipeline("embed")
    assert "measured" not in capsys.readouterr().out  # too little work to time it first


def test_own_documents_are_excluded_from_every_run_on_demand(pipeline, mirror, tmp_path):
    """As the paper's first versions did; it is part of what a run is, and the table says so."""
    root = tmp_path / "mirror"
    shutil.copytree(mirror, root)
    # Questions get the ids of the documents that they come from.
    for path in root.glob("miracl/miracl/miracl-v1.0-sw/*/*.tsv"):
        separator = "\t" if path.name.startswith("topics") else " "
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line.replace(separator, f"#0{separator}", 1) for line in lines))
    words = [f"benchmark.root={root}", "benchmark.retrieval.rerank_depth=20"]
    whole = pipeline(*words)
    excluding = f"output_dir={tmp_path / 'excluding'}"
    folder = pipeline(*words, "benchmark.retrieval.exclude_self=true", excluding)
    for name in ("dense", "sparse"):
        with_self, without = (read_run(path / f"runs/{name}/sw.trec") for path in (whole, folder))
        assert any(qid in ranking.docids for qid, ranking in with_self.items())
        for qid, ranking in with_self.items():
            assert without[qid].docids == [docid for docid in ranking.docids if docid != qid]
    for name in RETRIEVERS:
        run = read_run(folder / f"runs/{name}/sw.trec")
        assert all(qid not in ranking.docids for qid, ranking in run.items())
    # No number of today's paper is comparable with these scores.
    scores = (folder / "scores/scores.json").read_text()
    assert "own document excluded" in json.loads(scores)["title"]
    assert "exclude_self is true, published with false" in scores
    with pytest.raises(UserError, match="un `m3eval search` again"):
        pipeline("evaluate", *words, excluding)


def test_stage_2_refuses_a_run_of_other_texts(pipeline):
    """Else a table would state a length that its runs were not made with."""
    pipeline()
    said = (
        r"dense/sw.trec is of other texts.*\n"
        r"  texts.corpus-sw.max_length: 128 there, 64 asked for"
    )
    with pytest.raises(UserError, match=said):
        pipeline("evaluate", "benchmark.text.max_document_length=64")


def test_languages_that_share_a_corpus_encode_a_candidate_once(m3, tmp_path, monkeypatch):
    """The second language reads what the first encoded; its run is the one without a cache."""
    words = [
        "benchmark=demo_cross",
        "languages=[de,fr]",
        "retriever=[dense,multi_vector]",
        f"encoder.checkpoint={m3}",
        "runtime.precision=fp32",
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
        "store.multi_vector.limit_gb=0",  # else stage 0 keeps vectors of so few texts
    ]
    rows_read, read_cache = [], VectorCache.read

    def counting(cache, rows):
        rows_read.append(len(rows))
        return read_cache(cache, rows)

    monkeypatch.setattr(VectorCache, "read", counting)
    layouts = []
    for size in (0, 1):
        sizes = [f"output_dir={tmp_path / str(size)}", f"runtime.vector_cache_gb={size}"]
        setup = check(compose(*words, *sizes))
        embed.run(setup)
        search.run(setup)
        layouts.append(setup.layout)
    # All documents are candidates of both languages, and were encoded for the first.
    assert sum(rows_read) == 36
    for language in ("de", "fr"):
        without, cached = (
            read_run(layout.run("multi_vector", language).trec) for layout in layouts
        )
        for qid, ranking in without.items():
            scores = scores_in(cached, qid, ranking.docids)
            np.testing.assert_allclose(scores, ranking.scores, atol=1e-6)
    assert not list(tmp_path.rglob("vectors.float16"))
