"""Weights from one split for another.

The grid's scores are stage 1's own, and no query is both tuned on and reported.
"""

import json
import shutil

import numpy as np
import pytest
import yaml

from m3eval.commands import tune
from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.retrievers.run import read_run

METRIC = "benchmark.metrics=[nDCG@10]"


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
            lines = (
                (folder / kind / f"{kind}.miracl-v1.0-{language}-dev.tsv")
                .read_text()
                .splitlines(keepends=True)
            )
            train = "".join(
                "t" + line.replace(" ", " other ", 1) if kind == "topics" else "t" + line
                for line in lines
            )
            (folder / kind / f"{kind}.miracl-v1.0-{language}-train.tsv").write_text(train)
    words = [
        "benchmark.split=train",
        "benchmark.name=train",
        f"benchmark.root={root}",
        "languages=[sw,yo]",
    ]
    pipeline("embed", "search", *words)
    path = tmp_path / "weights.yaml"

    def tuned(*more):
        pipeline("tune", *words, METRIC, f"weights_file={path}", *more)
        return path

    return tuned


@pytest.mark.parametrize("hybrid", ["dense_sparse", "all"])
def test_the_grids_scores_are_stage_1s_own(splits, pipeline, mirror, tmp_path, hybrid):
    found = yaml.safe_load(splits(f"hybrid={hybrid}", "step=0.25").read_text())
    assert found["tuned_on"]["split"] == "train" and set(found["tuned_on"]["judged"]) == {
        "sw",
        "yo",
    }
    assert len(found["grid"]) == {"dense_sparse": 5, "all": 15}[hybrid]
    assert found["tuned_on"]["score"] == max(point["score"] for point in found["grid"])
    for point in [
        found["grid"][1],
        {"weights": found["weights"], "score": found["tuned_on"]["score"]},
        found["as_configured"],
    ]:
        weights = [
            f"retriever.{hybrid}.weights.{name}={value}" for name, value in point["weights"].items()
        ]
        words = [
            "benchmark.split=train",
            "benchmark.name=train",
            f"benchmark.root={tmp_path / 'mirror'}",
            "languages=[sw,yo]",
        ]
        folder = pipeline("search", "evaluate", *words, METRIC, *weights)
        scores = json.loads((folder / "scores" / "scores.json").read_text())["scores"]["nDCG@10"][
            hybrid
        ]
        assert point["score"] == pytest.approx(scores["average"], abs=1e-4), point


def test_tuned_weights_are_used_and_recorded(splits, pipeline, tmp_path):
    path = splits("hybrid=all", "grid={dense:[1],sparse:[0.7],multi_vector:[0.2]}")
    use = f"retriever.all.weights_from={path}"
    folder = pipeline(use)
    typed = [
        "retriever.all.weights={dense:1.0,sparse:0.7,multi_vector:0.2}",
        f"output_dir={tmp_path / 'typed'}",
    ]
    plain = pipeline("embed", "search", *typed)
    one, two = (read_run(where / "runs" / "all" / "sw.trec") for where in (folder, plain))
    for qid, ranking in one.items():
        assert ranking.docids == two[qid].docids
        np.testing.assert_allclose(ranking.scores, two[qid].scores, rtol=1e-6)
    settings = json.loads((folder / "runs" / "all" / "sw.json").read_text())["settings"]
    assert (
        settings["weights"]["sparse"] == 0.7
        and settings["tuned_on"]["split"] == "train"
        and "weights_from" not in settings
    )
    with pytest.raises(UserError, match="un `m3eval search` again"):
        pipeline("evaluate")  # without the file, other weights are meant


def test_without_a_file_nothing_changes():
    assert "weights_from" not in check(compose("experiment=demo")).cfg.retriever.all


def test_the_split_that_chose_the_weights_is_never_reported(splits, pipeline, tmp_path):
    use = f"retriever.dense_sparse.weights_from={splits('hybrid=dense_sparse')}"
    root = f"benchmark.root={tmp_path / 'mirror'}"
    with pytest.raises(UserError, match="tuned on train train, which is what is configured"):
        pipeline("search", "benchmark.name=train", "benchmark.split=train", root, use)
    renamed = [
        "benchmark.name=innocent",
        "benchmark.split=train",
        root,
        "retriever=[dense,sparse,dense_sparse]",
        use,
    ]
    pipeline("embed", "search", *renamed)  # under another name it is still the same questions
    for stage in ("evaluate", "compare", "gate"):
        with pytest.raises(
            UserError,
            match=r"sw: the weights of dense_sparse were tuned on these very queries \(train train",
        ):
            pipeline(stage, *renamed, *(["gate.write=true"] if stage == "gate" else []))


def test_a_union_is_tuned_on_whole_runs(splits, pipeline, tmp_path):
    """Its own list was cut by the weights that it had."""
    words = [
        "benchmark.split=train",
        "benchmark.name=train",
        f"benchmark.root={tmp_path / 'mirror'}",
        "benchmark.subset=true",
    ]
    lengths = [f"benchmark.text.max_{role}_length=128" for role in ("query", "document")]
    more = [
        "languages=[sw]",
        "retriever.dense_sparse.depth=3",
        f"output_dir={tmp_path / 'outputs'}",
    ]
    setup = check(compose(*words, *lengths, *more))
    found = tune.candidates(setup, "dense_sparse", setup.tasks[0])
    assert {len(one.docids) for one in found.values()} == {60}


def test_a_cut_list_is_refused(splits, pipeline, tmp_path):
    words = [
        "benchmark.split=train",
        "benchmark.name=train",
        f"benchmark.root={tmp_path / 'mirror'}",
        "languages=[sw,yo]",
    ]
    pipeline("search", *words, "retriever.all.depth=5")
    with pytest.raises(
        UserError, match=r"holds 5 documents of more: set retriever.all.depth higher"
    ):
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
    found = list(tune.combinations(["a", "b", "c"], 0.1, None))
    assert len(found) == 66 == len({tuple(one.values()) for one in found})
    assert all(sum(one.values()) == pytest.approx(1) for one in found)


def test_a_file_that_is_no_tuned_weights_is_refused(tmp_path):
    for text, said in (("weights: {dense: 1}", "does not say on what"), ("a: [", "cannot be read")):
        (tmp_path / "w.yaml").write_text(text)
        with pytest.raises(UserError, match=said):
            check(compose("experiment=demo", f"retriever.all.weights_from={tmp_path / 'w.yaml'}"))
    with pytest.raises(UserError, match="cannot be read"):
        check(compose("experiment=demo", f"retriever.all.weights_from={tmp_path / 'none.yaml'}"))
