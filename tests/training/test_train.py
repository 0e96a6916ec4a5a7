"""`m3eval train` from words to a checkpoint that others read."""

import json

import numpy as np
import pytest
import torch

from m3eval.__main__ import main
from m3eval.encoders import m3 as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.stated import state, stated_pooling
from m3eval.errors import UserError
from m3eval.runtime import settle
from m3eval.training import watch
from tests.conftest import save_m3, words
from tests.needs import needs
from tests.training.small import run_training, write_examples

ALL = ["dense", "sparse", "multi_vector"]
TEXTS = [words(i, 3 + i) for i in range(8)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("data") / "examples.jsonl", n=24)


@pytest.fixture(scope="module")
def trained(m3, data, tmp_path_factory):
    """The folder of a training of the transformer and all heads."""
    return run_training(m3, data, tmp_path_factory.mktemp("outputs"), "trainer.steps=4")


def encoder_of(folder):
    return family.load("x", "x", str(folder), None, settle("cpu", "fp32", 1, 256, 100, 100))


def encode(folder, role="document"):
    return encoder_of(folder).encode(Request(TEXTS, role, 100), Wanted(ALL, np.float32))


@needs("FlagEmbedding")
def test_flagembedding_reads_the_checkpoint_and_gives_the_same_vectors(trained, m3):
    from bench.flagembedding import flagembedding

    model = flagembedding().BGEM3FlagModel(str(trained / "model"), use_fp16=False, devices="cpu")
    theirs = model.encode(
        TEXTS, max_length=100, return_dense=True, return_sparse=True, return_colbert_vecs=True
    )
    ours = encode(trained / "model")
    np.testing.assert_allclose(ours.dense, theirs["dense_vecs"], rtol=0, atol=1e-5)
    for i, weights in enumerate(theirs["lexical_weights"]):
        row = ours.sparse[[i]]
        assert dict(zip(map(str, row.indices), row.data, strict=True)).keys() == weights.keys()
        np.testing.assert_allclose(sorted(row.data), sorted(weights.values()), rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            ours.multi_vector[i], theirs["colbert_vecs"][i], rtol=0, atol=1e-5
        )
    assert not np.allclose(ours.dense, encode(m3).dense, atol=1e-3)  # it learnt


def test_pooling_and_prefixes_stand_in_the_checkpoint_and_are_followed(tmp_path, data):
    start = save_m3(tmp_path / "m3")
    state(start, 32, "mean", {"query": "ba: ", "document": "do "})
    folder = run_training(start, data, tmp_path, "trainer.steps=2") / "model"
    encoder = encoder_of(folder)
    assert encoder.prefixes == {"query": "ba: ", "document": "do "}
    assert stated_pooling(folder) == "mean" and encoder.identity["pooling"] == "mean"
    state(folder, 32, "cls", encoder.prefixes)
    as_cls = encode(folder).dense
    state(folder, 32, "mean", {"query": "", "document": ""})
    without = encode(folder).dense
    state(folder, 32, "mean", encoder.prefixes)
    assert not np.allclose(encode(folder).dense, as_cls, atol=1e-3)
    assert not np.allclose(encode(folder).dense, without, atol=1e-3)
    assert not np.allclose(encode(folder, "query").dense, encode(folder).dense, atol=1e-3)


def test_a_frozen_transformer_stays_to_the_byte_and_its_states_are_computed_once(
    m3, data, tmp_path, capsys
):
    changes = ("objective.only_train=[heads.]", "trainer.steps=3")
    folder = run_training(m3, data, tmp_path, *changes)
    assert "states " in capsys.readouterr().out
    run_training(m3, data, tmp_path, *changes, "name=other", "seed=1")
    assert "are used again" in capsys.readouterr().out
    before, after = (torch_weights(place) for place in (m3, folder / "model"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    heads = [torch.load(place / "sparse_linear.pt") for place in (m3, folder / "model")]
    assert not torch.equal(heads[0]["weight"], heads[1]["weight"])
    # Without stored states the heads learn the same, but for the 16 bits of the states.
    plain = run_training(m3, data, tmp_path / "plain", *changes, "trainer.cache_states=false")
    weights = [torch.load(f / "model/sparse_linear.pt")["weight"] for f in (folder, plain)]
    torch.testing.assert_close(*weights, rtol=0, atol=1e-4)


def torch_weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_checkpoints_are_judged_and_the_best_is_kept(m3, data, mirror, tmp_path, capsys):
    words_ = [
        "benchmark=miracl",
        f"benchmark.root={mirror}",
        "benchmark.subset=true",
        "benchmark.text.max_query_length=100",
        "benchmark.text.max_document_length=100",
        "languages=[sw]",
        "retriever=[dense,sparse]",
        "runtime.threads=1",
        "runtime.precision=fp32",
    ]
    listed = ",".join(f"'{word}'" for word in words_)
    changes = (
        "trainer.evaluate_every=2",
        f"trainer.evaluation=[{listed}]",
        "trainer.steps=6",
        "trainer.learning_rate=3e-2",
    )
    folder = run_training(m3, data, tmp_path, *changes)
    scores = [
        json.loads(path.read_text())["scores"]["nDCG@10"]
        for path in sorted(folder.glob("evaluation/miracl/step-*/scores/scores.json"))
    ]
    means = [np.mean([of["dense"]["sw"], of["sparse"]["sw"]]) for of in scores]
    assert len(means) == 3 and len({*means}) > 1
    best = 2 * (1 + int(np.argmax(means)))
    assert f"| {best} | " in (folder / "training.md").read_text()
    kept, final = (
        torch_weights(place) for place in (folder / f"checkpoint-{best}/model", folder / "model")
    )
    assert all(torch.equal(kept[name], final[name]) for name in kept)
    assert not list(folder.glob("evaluation/miracl/*/stores"))


def test_evaluated_questions_in_the_data_are_an_error_that_names_them(m3, mirror, tmp_path):
    topics = mirror / "miracl/miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv"
    question = topics.read_text().splitlines()[3].split("\t")[1]
    rows = [{"query": f" {question.upper()}", "pos": ["ba"], "neg": ["bo"]}] + [
        {"query": f"q{i}", "pos": ["ba"], "neg": ["bo"]} for i in range(9)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation = (
        f"trainer.evaluation=[benchmark=miracl,'benchmark.root={mirror}',benchmark.subset=true,"
        "'languages=[sw]','retriever=[bm25s]']"
    )
    with pytest.raises(UserError, match=r"1 of 10 training examples ask a question") as error:
        run_training(m3, path, tmp_path, evaluation, "trainer.evaluate_every=2")
    assert question.upper()[:40] in str(error.value) and "of mine" in str(error.value)
    with pytest.raises(UserError, match=r"trainer.evaluation= not"):
        run_training(m3, path, tmp_path, "trainer.evaluate_every=2")


def test_what_did_not_move_is_no_result(m3, data, tmp_path):
    with pytest.raises(UserError, match=r"No weight is another than at the start"):
        run_training(m3, data, tmp_path, "trainer.steps=2", "trainer.learning_rate=1e-30")
    assert not (tmp_path / "training/mine/model").exists()


def test_a_folder_holds_one_training(m3, data, trained, capsys):
    outputs = trained.parents[1]
    before = (trained / "model/sparse_linear.pt").read_bytes()
    run_training(m3, data, outputs, "trainer.steps=4", "trainer.log_every=1")
    assert "was trained so already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"begun otherwise \(trainer.steps: 4 there, 5 now\)"):
        run_training(m3, data, outputs, "trainer.steps=5")
    assert (trained / "model/sparse_linear.pt").read_bytes() == before


def test_the_report_tells_losses_health_and_movement(trained):
    text = (trained / "training.md").read_text()
    rows = watch.read_steps(trained / "steps.jsonl")
    assert len(rows) == 4 and f"| loss | {rows[0]['loss']:.4g} | {rows[-1]['loss']:.4g} |" in text
    for part in ("empty_document", "terms_query", "| heads.sparse |", "| body.encoder |"):
        assert part in text
    svg = (trained / "training.svg").read_text()
    assert svg.count("<polyline") == 5 and "step 4" in svg


def test_empty_lexical_vectors_are_said(capsys):
    watch.warn([{"empty_document": 0.0}, {"empty_document": 0.5, "empty_query": 0.05}])
    out = " ".join(capsys.readouterr().out.split())
    assert "50% of the last step's texts have no lexical weight (empty_document)" in out
    assert "empty_query" not in out


def test_too_few_examples_for_a_step(m3, data, tmp_path):
    with pytest.raises(UserError, match=r"24 examples do not fill one step"):
        run_training(m3, data, tmp_path, "data.batch_sizes=[[100,25]]")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("objective.representations=[]", "representations=[]: takes a list of at least one"),
        ("objective.representations=[colbert]", "takes dense, sparse, multi_vector"),
        ("objective.only_train=[]", "objective.only_train=[]: takes a list of at least one"),
        ("objective.loss.temperature=0", "objective.loss.temperature=0: takes a number above 0"),
        ("objective.loss.teacher=kd", "objective.loss.teacher=kd: takes none, kl_div or m3_kd"),
        ("data.batch_sizes=[[512]]", "takes a limit in tokens and a size"),
        ("data.group=0", "data.group=0: takes a whole number from 1"),
        ("trainer.warmup=2", "trainer.warmup=2: takes a number from 0 to 1"),
        ("trainer.precision=int8", "trainer.precision=int8: takes fp32, bf16 or fp16"),
        ("trainer.stpes=3", "did you mean trainer.steps?"),
        ("seed=-1", "seed=-1: takes a whole number from 0"),
        ("name=a/b", "name=a/b: takes one name"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_anything_is_read(word, said, capsys):
    words_ = ["name=x", "start=/nowhere", "data.files=[/nowhere]"]
    given = [each for each in words_ if each.partition("=")[0] != word.partition("=")[0]]
    assert main(["train", *given, word]) == 2
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_reranker_that_is_asked_for_must_have_scored(m3, data, tmp_path):
    with pytest.raises(UserError, match=r"learns from a reranker's scores, and 24 of 24 examples"):
        run_training(m3, data, tmp_path, "objective.loss.teacher=kl_div")


def test_loggers_are_told_the_parts(m3, data, tmp_path):
    folder = run_training(m3, data, tmp_path, "trainer.steps=2", "trainer.save_every=2")
    state = json.loads((folder / "checkpoint-2/trainer_state.json").read_text())
    assert state["log_history"] == []  # nothing is due before log_every=50 steps
    changes = ("trainer.steps=2", "trainer.save_every=2", "trainer.log_every=1", "name=b")
    folder = run_training(m3, data, tmp_path, *changes)
    state = json.loads((folder / "checkpoint-2/trainer_state.json").read_text())
    for row in state["log_history"]:
        assert {"ce_sparse", "kl_dense", "empty_document", "learning_rate"} <= row.keys()
    assert len(state["log_history"]) == 2
