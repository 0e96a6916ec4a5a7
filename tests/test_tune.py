"""Weights from one split for another.

The grid's scores are stage 1's own, and no query is both tuned on and reported.
"""

import shutil

import numpy as np
import pytest
import yaml

from m3eval.benchmarks.task import Corpus, Query, Task
from m3eval.commands import tune
from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.manifests import Result, RunManifest
from m3eval.records import read
from m3eval.retrievers.run import read_run
from m3eval.tuned import query_digest, refuse_seen_by
from tests.records import run_manifest

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
    assert on["languages"] == ["sw", "yo"]
    assert len(on["queries"]) == 9  # the 5 of yo are among those of sw
    assert len(grid) == {"dense_sparse": 5, "all": 15}[hybrid]
    assert on["score"] == max(point["score"] for point in [*grid, tuned["as_configured"]])
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


@pytest.fixture
def other_questions(splits, pipeline, mirror, tmp_path):
    """Weights for the dev split, of which a function says what else stage 1 is to report.

    other_questions({"0": "a question of its text"}) has them instead of dev's, and gives the words.
    """
    use = f"retriever.dense_sparse.weights_from={splits('hybrid=dense_sparse')}"
    root = shutil.copytree(mirror, tmp_path / "dev")
    folder = root / "miracl/miracl/miracl-v1.0-sw"

    def ask(texts, judged=None):
        lines = {
            "topics": [f"{qid}\t{text}\n" for qid, text in texts.items()],
            "qrels": [f"{qid} Q0 0#0 1\n" for qid in judged or texts],
        }
        for kind, of_kind in lines.items():
            path = folder / kind / f"{kind}.miracl-v1.0-sw-dev.tsv"
            path.write_text("".join(of_kind), encoding="utf-8")
        return [f"benchmark.root={root}", "benchmark.name=dev", "retriever=[dense_sparse]", use]

    ask.seen = (tmp_path / "mirror/miracl/miracl/miracl-v1.0-sw/topics").glob("*train*")
    ask.seen = dict(line.split("\t") for line in next(ask.seen).read_text().splitlines())
    return ask


def respelt(text):
    """The same question with other capitals, spaces and signs of the same form."""
    wide = text.upper().replace(" ", "\u3000 ").replace("A", "\uff21")
    return f"  {wide} "


@pytest.mark.parametrize("change", [str, respelt])
def test_a_query_that_was_seen_is_not_reported(other_questions, pipeline, change):
    """One among others is enough, whatever its id, the split and the benchmark's name."""
    seen = [*other_questions.seen.values()][3]
    words = other_questions({"a": "never seen", "b": change(seen), "c": "nor this"})
    said = r"sw: 1 of 3 reported queries were seen in tuning the weights of dense_sparse \(train "
    pipeline("embed", *words)
    with pytest.raises(UserError, match=f"{said}train\\), for example b"):
        pipeline("search", *words)


def test_only_reported_queries_must_be_new(other_questions, pipeline):
    """The queries of BEIR are those of all splits, and judgements say which are whose."""
    texts = other_questions.seen | {"a": "never seen", "b": "nor this"}
    pipeline("embed", "search", "evaluate", *other_questions(texts, judged=["a", "b"]))


@pytest.mark.parametrize("command", ["evaluate", "compare", "gate"])
def test_a_run_whose_weights_saw_a_query_is_not_scored(
    other_questions, pipeline, command, monkeypatch
):
    """Judgements may come after stage 1 was done."""
    texts = other_questions.seen | {"a": "never seen"}
    words = other_questions(texts, judged=["a"])
    pipeline("embed", "search", *words)
    other_questions(texts, judged=["a", *other_questions.seen])
    more = {"gate": ["gate.write=true"], "compare": ["systems=[dense,dense_sparse]"]}
    with pytest.raises(UserError, match="9 of 10 reported queries were seen in tuning"):
        pipeline(command, *words, *more.get(command, []))


def test_what_builds_on_a_run_is_refused_for_its_weights(task_of):
    tuned_on = {"benchmark": "b", "split": "s", "queries": [query_digest("Wo ist Öl?")]}
    seen = run_manifest("inner", settings={"tuned_on": tuned_on})
    outer = run_manifest("outer", inputs={"middle": run_manifest("middle", inputs={"x": seen})})
    refuse_seen_by(outer, task_of("where is oil?"))
    refuse_seen_by(outer, task_of(""))
    with pytest.raises(UserError, match="1 of 1 .* the weights of inner"):
        refuse_seen_by(outer, task_of("WO IST O\u0308L?"))


def test_weights_of_an_early_version_are_not_trusted(splits, pipeline, task_of, tmp_path):
    """They have one digest of all queries: one question more, and it told nothing."""
    path = splits("hybrid=dense_sparse")
    content = yaml.safe_load(path.read_text())
    del content["tuned_on"]["queries"]
    content["tuned_on"]["judged"] = {"sw": "0" * 64}
    path.write_text(yaml.safe_dump(content))
    said = "does not say which queries it has seen: run `m3eval tune` again"
    with pytest.raises(UserError, match=said):
        pipeline("search", f"retriever.dense_sparse.weights_from={path}")
    old = run_manifest(settings={"tuned_on": content["tuned_on"]})
    with pytest.raises(UserError, match="run `m3eval tune` again, and then `m3eval search`"):
        refuse_seen_by(old, task_of("anything"))


@pytest.fixture
def task_of():
    """task_of(text, ...) has these queries, all judged."""

    def task(*texts):
        queries = [Query(str(i), text) for i, text in enumerate(texts)]
        corpus = Corpus("xx", lambda: iter(()))
        return Task("xx", corpus, queries, qrels={query.qid: {} for query in queries})

    return task


def test_a_language_without_a_question_that_counts_is_named(splits, monkeypatch, tmp_path):
    """Where a run found no document, and such questions are left out."""
    judge = tune.judge

    def judged(runs, of, metrics):
        scores = list(judge(runs, of, metrics))
        return [{metric: {} for metric in each} for each in scores]

    monkeypatch.setattr(tune, "judge", judged)
    with pytest.raises(UserError, match="sw: no question counts, .*Leave the language out"):
        splits("hybrid=dense_sparse", "step=0.5")
    assert not (tmp_path / "weights.yaml").exists()


def test_on_a_tie_the_configured_weights_stay(splits, capsys):
    """Only the ratio of weights decides, so this grid has nothing that is better."""
    path = splits("hybrid=dense_sparse", "grid={dense:[2],sparse:[0.6]}")
    tuned = yaml.safe_load(path.read_text())
    best = max(point["score"] for point in tuned["grid"])
    assert tuned["weights"] == tuned["as_configured"]["weights"] == {"dense": 1.0, "sparse": 0.3}
    assert tuned["tuned_on"]["score"] == tuned["as_configured"]["score"] == best
    assert (
        "none is better than the weights as configured: these are kept" in capsys.readouterr().out
    )


def test_weights_that_are_all_0_are_not_tried():
    grid = {"a": [0, 1], "b": [0, 0.5]}
    tried = list(tune.combinations(["a", "b"], 0.1, grid))
    assert [tuple(weights.values()) for weights in tried] == [(0, 0.5), (1, 0), (1, 0.5)]


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
        (["step=0"], "takes a number above 0, at most 1"),
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
