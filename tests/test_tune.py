"""Weights from one split for another.

The grid's scores are stage 1's own, and no query is both tuned on and reported.
"""

import shutil

import numpy as np
import pytest
import yaml

from m3eval.commands import tune
from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.manifests import Result, RunManifest
from m3eval.records import read
from m3eval.retrievers.run import read_run

METRIC = "benchmark.metrics=[nDCG@10]"
TRAIN = ["benchmark.split=train", "benchmark.name=train"]


@pytest.fixture
def splits(pipeline, mirror, tmp_path):
    """A second split, with other questions on the same documents.

    tuned(...) tunes on it and returns the weights file.
    """
    root = tmp_path / "mirror"
    shutil.copytree(mirror, root)
    for language in ("sw", "yo"):
        folder = root / "miracl" / "miracl" / f"miracl-v1.0-{language}"
        for kind in ("topics", "qrels"):
            dev = folder / kind / f"{kind}.miracl-v1.0-{language}-dev.tsv"
            lines = dev.read_text().splitlines(keepends=True)
            if kind == "topics":
                lines = [line.replace(" ", " other ", 1) for line in lines]
            train = "".join(f"t{line}" for line in lines)
            (folder / kind / f"{kind}.miracl-v1.0-{language}-train.tsv").write_text(train)
    words = [*TRAIN, f"benchmark.root={root}", "languages=[sw,yo]"]
    pipeline("embed", "search", *words)
    path = tmp_path / "weights.yaml"

    def tuned(*more):
        pipeline("tune", *words, METRIC, f"weights_file={path}", *more)
        return path

    return tuned


@pytest.mark.parametrize("hybrid", ["dense_sparse", "all"])
def test_the_grids_scores_are_stage_1s_own(splits, pipeline, mirror, tmp_path, hybrid):
    tuned = yaml.safe_load(splits(f"hybrid={hybrid}", "step=0.25").read_text())
    on, grid = tuned["tuned_on"], tuned["grid"]
    assert on["split"] == "train"
    assert {*on["judged"]} == {"sw", "yo"}
    assert len(grid) == {"dense_sparse": 5, "all": 15}[hybrid]
    assert on["score"] == max(point["score"] for point in grid)
    best = {"weights": tuned["weights"], "score": on["score"]}
    words = [*TRAIN, f"benchmark.root={tmp_path / 'mirror'}", "languages=[sw,yo]", METRIC]
    for point in (grid[1], best, tuned["as_configured"]):
        weights = [
            f"retriever.{hybrid}.weights.{name}={value}" for name, value in point["weights"].items()
        ]
        folder = pipeline("search", "evaluate", *words, *weights)
        scores = read(folder / "scores/scores.json", Result).scores["nDCG@10"]
        assert point["score"] == pytest.approx(scores[hybrid]["average"], abs=1e-4), point


def test_tuned_weights_are_used_and_recorded(splits, pipeline, tmp_path):
    path = splits("hybrid=all", "grid={dense:[1],sparse:[0.7],multi_vector:[0.2]}")
    use = f"retriever.all.weights_from={path}"
    folder = pipeline(use)
    typed = [
        "retriever.all.weights={dense:1.0,sparse:0.7,multi_vector:0.2}",
        f"output_dir={tmp_path / 'typed'}",
    ]
    with_file = read_run(folder / "runs/all/sw.trec")
    with_words = read_run(pipeline("embed", "search", *typed) / "runs/all/sw.trec")
    for qid, ranking in with_file.items():
        assert ranking.docids == with_words[qid].docids
        np.testing.assert_allclose(ranking.scores, with_words[qid].scores, rtol=1e-6)
    settings = read(folder / "runs/all/sw.json", RunManifest).settings
    assert settings["weights"]["sparse"] == 0.7
    assert settings.tuned_on["split"] == "train"
    assert "weights_from" not in settings
    with pytest.raises(UserError, match="un `m3eval search` again"):
        pipeline("evaluate")  # without the file, other weights are meant


def test_without_a_file_nothing_changes():
    assert "weights_from" not in check(compose("experiment=demo")).cfg.retriever.all


def test_the_split_that_chose_the_weights_is_never_reported(splits, pipeline, tmp_path):
    use = f"retriever.dense_sparse.weights_from={splits('hybrid=dense_sparse')}"
    root = f"benchmark.root={tmp_path / 'mirror'}"
    with pytest.raises(UserError, match="tuned on train train, which is what is configured"):
        pipeline("search", *TRAIN, root, use)
    renamed = [
        "benchmark.name=innocent",
        "benchmark.split=train",
        root,
        "retriever=[dense,sparse,dense_sparse]",
        use,
    ]
    pipeline("embed", "search", *renamed)  # under another name they are the same questions
    said = r"sw: the weights of dense_sparse were tuned on these very queries \(train train"
    for words in (["evaluate"], ["compare"], ["gate", "gate.write=true"]):
        with pytest.raises(UserError, match=said):
            pipeline(*words, *renamed)


def test_a_union_is_tuned_on_whole_runs(splits, pipeline, tmp_path):
    """Its own list was cut by the weights that it had."""
    words = [
        *TRAIN,
        f"benchmark.root={tmp_path / 'mirror'}",
        "benchmark.subset=true",
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
        "languages=[sw]",
        "retriever.dense_sparse.depth=3",
        f"output_dir={tmp_path / 'outputs'}",
    ]
    setup = check(compose(*words))
    candidates = tune.candidates(setup, "dense_sparse", setup.tasks[0])
    assert {len(of_query.docids) for of_query in candidates.values()} == {60}


def test_a_cut_list_is_refused(splits, pipeline, tmp_path):
    words = [*TRAIN, f"benchmark.root={tmp_path / 'mirror'}", "languages=[sw,yo]"]
    pipeline("search", *words, "retriever.all.depth=5")
    said = "holds 5 documents of more: set retriever.all.depth higher"
    with pytest.raises(UserError, match=said):
        splits("hybrid=all", "retriever.all.depth=5")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hybrid=dense"], "choose a retriever that has weights"),
        (["hybrid=dense_bm25"], "choose a retriever that has weights"),
        (["step=0.3"], "must divide 1"),
        (["step=0"], "must divide 1"),
        (["grid={dense:[1]}"], "give a list of weights for each of dense, sparse"),
    ],
)
def test_bad_settings_say_what_to_do(splits, words, said):
    with pytest.raises(UserError, match=said):
        splits(*words)


def test_combinations_sum_to_one():
    grid = list(tune.combinations(["a", "b", "c"], 0.1, None))
    assert len(grid) == len({tuple(weights.values()) for weights in grid}) == 66
    assert all(sum(weights.values()) == pytest.approx(1) for weights in grid)


def test_a_file_that_is_no_tuned_weights_is_refused(tmp_path):
    path = tmp_path / "weights.yaml"
    words = ["experiment=demo", f"retriever.all.weights_from={path}"]
    with pytest.raises(UserError, match="cannot be read"):  # there is no file
        check(compose(*words))
    for text, said in (("weights: {dense: 1}", "does not say on what"), ("a: [", "cannot be read")):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            check(compose(*words))
