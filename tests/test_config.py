"""Every YAML that is shipped composes and is callable; errors come together, with a remedy."""

import re
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from m3eval.commands.table import NAMES
from m3eval.config import CONFIG_DIR, accept, check, compose, tree
from m3eval.config.schema import hints
from m3eval.errors import UserError


def trains(experiment):
    """Whether an experiment is one of `m3eval train`, which its second comment says."""
    text = (CONFIG_DIR / f"experiment/{experiment}.yaml").read_text()
    return "\n# m3eval train" in text


GROUPS = {
    group: sorted(
        path.stem
        for path in (CONFIG_DIR / group).glob("*.yaml")
        if group != "experiment" or not trains(path.stem)
    )
    for group in ("benchmark", "encoder", "retriever", "experiment", "runtime")
}
REQUIRED = {
    "folder": ["benchmark.name=x", "benchmark.root={tmp}", "benchmark.language=en"],
    "hub": ["benchmark.repository={tmp}", "benchmark.language=en"],
    "ir_datasets": ["benchmark.dataset=beir/scifact/test"],
    "sentence_transformers": ["encoder.name=x", "encoder.checkpoint=/x"],
    "splade": ["encoder.name=x", "encoder.checkpoint=/x"],
    "sparse_embed": ["encoder.name=x", "encoder.checkpoint=/x"],
    "clp_moe": ["encoder.name=x", "encoder.checkpoint=/x"],
    "pooled": ["encoder.name=x", "encoder.checkpoint=/x", "encoder.pooling=mean"],
}


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, names in GROUPS.items() for name in names]
)
def test_every_choice_is_valid(group, name, tmp_path):
    (tmp_path / "queries.tsv").write_text("")
    (tmp_path / "corpus.jsonl").write_text("")
    choice = f"{group}=[{name}]" if group == "retriever" else f"{group}={name}"
    check(compose(choice, *(word.format(tmp=tmp_path) for word in REQUIRED.get(name, []))))


TRAINING = {group: tree.choices(group) for group in ("objective", "data", "trainer")}
TRAINING["experiment"] = [name for name in tree.choices("experiment") if trains(name)]


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, names in TRAINING.items() for name in names]
)
def test_every_choice_of_training_is_valid(group, name):
    given = ["name=x", "start=y", "data.files=[z]"]
    cfg = compose(f"{group}={name}", *given, config="train")
    accept(cfg)
    for node in (cfg.objective, cfg.data, cfg.trainer):
        names = {*hints(get_object(node._target_))}
        assert {*node.keys()} - {"_target_"} <= names, node._target_


@pytest.mark.parametrize(
    "path", sorted(CONFIG_DIR.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIG_DIR))
)
def test_every_file_begins_with_what_it_is_and_a_command(path: Path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert re.fullmatch(r"# .{1,88}\.", lines[0])
    command = re.match(r"# (?:OPENAI_API_KEY=\.\.\. )?m3eval ([\w-]+)", lines[1])
    assert command and command[1] in NAMES


def test_the_default_is_miracl_with_bge_m3():
    cfg = compose("languages=[ko,fa]")
    assert (cfg.benchmark.name, cfg.encoder.checkpoint, list(cfg.languages)) == (
        "miracl",
        "BAAI/bge-m3",
        ["ko", "fa"],
    )
    assert list(cfg.retriever) == ["dense", "sparse", "multi_vector", "dense_sparse", "all"]
    weights = OmegaConf.to_container(cfg.retriever.all.weights, resolve=True)
    assert weights == {"dense": 1.0, "sparse": 0.3, "multi_vector": 1.0}
    assert OmegaConf.to_container(cfg.retriever.dense_sparse.weights, resolve=True) == {
        "dense": 1.0,
        "sparse": 0.3,
    }
    assert (cfg.retriever.dense.depth, cfg.retriever.multi_vector.depth) == (1000, 200)


def test_windows_bring_their_length_and_the_command_line_wins():
    cfg = compose("benchmark=demo", "encoder=e5_small_q4_windows")
    plain = compose("benchmark=demo", "encoder=e5_small_q4")
    assert (
        cfg.encoder.windows == {"size": 512, "stride": 256}
        and cfg.benchmark.text.max_document_length == 65536
    )
    assert plain.encoder.windows is None and plain.benchmark.text.max_document_length == 512
    assert {key for key in cfg.encoder if cfg.encoder[key] != plain.encoder[key]} == {
        "name",
        "label",
        "windows",
    }
    words = ["encoder.windows.stride=128", "benchmark.text.max_document_length=1024"]
    cfg = compose(*words, "encoder=e5_small_q4_windows", "benchmark=demo")
    assert (
        cfg.encoder.windows == {"size": 512, "stride": 128}
        and cfg.benchmark.text.max_document_length == 1024
    )


def test_all_errors_come_together():
    with pytest.raises(UserError) as error:
        check(
            compose(
                "benchmark.metrics=[ndgc@10]",
                "runtime.precision=fp8",
                "+encoder.moe=true",
                "benchmark.text.max_query_length=2",
                "representations=[colbert]",
                "runtime.shard_size=0",
            )
        )
    for part in (
        "benchmark.metrics: its item=ndgc@10: takes nDCG@k, R@k",
        "runtime.precision=fp8: takes auto, fp32, fp16, bf16 or int8.",
        "encoder has an unknown setting moe",
        "max_query_length=2: takes a whole number from 8 to",
        "representations: its item=colbert: takes dense, sparse, multi_vector or term_vectors.",
        "runtime.shard_size=0: takes a whole number from 1 to",
    ):
        assert part in str(error.value)
    with pytest.raises(UserError, match="rerank_depth=2000 must not be more than depth=1000"):
        check(compose("benchmark.retrieval.rerank_depth=2000"))


def test_settings_without_default_are_asked_for():
    with pytest.raises(UserError, match=r"must be given: benchmark.name=, benchmark.root="):
        check(compose("benchmark=folder"))


def test_a_target_that_is_not_there():
    with pytest.raises(
        UserError, match=r"encoder._target_=m3eval.encoders.nothing.load cannot be imported"
    ):
        check(compose("encoder._target_=m3eval.encoders.nothing.load"))


@pytest.mark.parametrize("device", ["cuda:2", "cuda:10"])
def test_a_gpu_of_a_number_that_is_not_there(monkeypatch, device):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=f"{device}, but there are 2 CUDA devices.* is cuda:1"):
        check(compose(f"runtime.device={device}"))
    check(compose("runtime.device=cuda:1", "runtime.precision=fp16"))


def test_cuda_that_is_not_there(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="sees no CUDA device"):
        check(compose("runtime.device=cuda"))
