"""Scores in trackers: what stage 2 tells them is what its tables have."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest

from m3eval.commands import run
from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.manifests import Result
from m3eval.records import read
from tests.needs import needs


class Told:
    """Modules with those names of wandb and mlflow that are called, which keep what they get."""

    def __init__(self):
        self.calls: list[tuple] = []
        self.wandb, self.mlflow = ModuleType("wandb"), ModuleType("mlflow")
        self.wandb.init = self.init
        self.mlflow.set_experiment = lambda name: self.calls.append(("experiment", name))
        self.mlflow.start_run = self.start_run
        self.mlflow.log_dict = lambda content, file: self.calls.append(("dict", content, file))
        self.mlflow.log_metrics = lambda metrics: self.calls.append(("metrics", metrics))

    def init(self, **settings):
        self.calls.append(("init", settings))
        return SimpleNamespace(
            log=lambda metrics: self.calls.append(("metrics", metrics)),
            finish=lambda: self.calls.append(("finish",)),
        )

    @contextmanager
    def start_run(self, run_name):
        self.calls.append(("start", run_name))
        yield
        self.calls.append(("end",))


@pytest.fixture
def told(monkeypatch) -> Told:
    made = Told()
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, getattr(made, name))
    return made


def expected(folder) -> dict[str, float]:
    scores = read(folder / "scores/scores.json", Result).scores
    return {
        f"{metric}/{retriever}/{language}": score
        for metric, by_retriever in scores.items()
        for retriever, by_language in by_retriever.items()
        for language, score in by_language.items()
    }


def held(metrics: dict[str, float], folder) -> None:
    of_tables = expected(folder)
    costs = {name: value for name, value in metrics.items() if name.startswith("cost/")}
    assert metrics.keys() - costs.keys() == of_tables.keys()
    assert all(metrics[name] == pytest.approx(of_tables[name], abs=1e-3) for name in of_tables)
    assert {*costs} == {
        "cost/tokens_per_second",
        *(f"cost/milliseconds_per_query/{name}" for name in ("dense", "sparse", "dense_sparse")),
    }
    assert all(value > 0 for value in costs.values())


def test_nothing_is_reported_unless_it_is_asked_for(again, told, capsys):
    again("evaluate")
    assert not told.calls and "reported to" not in capsys.readouterr().out


def test_wandb_gets_the_scores_of_the_tables_and_their_configuration(again, told, capsys):
    folder = again("evaluate", "report_to=[wandb]")
    (_, settings), (_, metrics), (last,) = told.calls
    held(metrics, folder)
    assert (settings["project"], last) == ("m3eval", "finish")
    assert settings["name"] == f"{folder.parent.name}/{folder.name}"
    assert settings["config"]["benchmark"]["name"] == "miracl"
    assert f"reported to wandb: {len(metrics)} numbers" in capsys.readouterr().out


def test_mlflow_gets_them_by_names_that_it_takes(again, told):
    folder = again("evaluate", "report_to=[mlflow]")
    kinds = [call[0] for call in told.calls]
    assert kinds == ["experiment", "start", "dict", "metrics", "end"]
    metrics = told.calls[3][1]
    assert not any("@" in name for name in metrics) and "nDCG_at_10/dense/sw" in metrics
    held({name.replace("_at_", "@"): value for name, value in metrics.items()}, folder)
    assert json.loads(json.dumps(told.calls[2][1]))["encoder"]["name"] == folder.name


def test_secrets_are_masked_there_too(again, told):
    again("evaluate", "report_to=[wandb]", "benchmark.label='https://me:passw0rd123@host/x'")
    sent = json.dumps(told.calls[0][1], default=str)
    assert "passw0rd123" not in sent and "***@host" in sent


@needs("tensorboard")
def test_tensorboard_s_files_have_the_scores(again):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = again("evaluate", "report_to=[tensorboard]")
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    held({name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}, folder)
    (text,) = events.Tensors("configuration/text_summary")
    assert b'"name": "miracl"' in text.tensor_proto.string_val[0]


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "mlflow"])
def test_what_is_not_installed_is_named_before_any_work(tracker, monkeypatch, tmp_path):
    for name in ("tensorboard", "torch.utils.tensorboard", "wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ["experiment=demo", "languages=[en]", f"report_to=[{tracker}]"]
    setup = check(compose(*words, f"output_dir={tmp_path}"))
    with pytest.raises(UserError, match=rf"report_to=\[{tracker}\].*pip install {tracker}\."):
        run.run(setup)
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_refuses_is_named_and_the_tables_are_there(again, told, monkeypatch):
    def refuse(**settings):
        raise ConnectionError("no network")

    monkeypatch.setattr(told.wandb, "init", refuse)
    with pytest.raises(UserError, match=r"wandb refused .*no network.*tables are written"):
        again("evaluate", "report_to=[wandb]")


def test_other_trackers_are_no_setting():
    with pytest.raises(UserError, match="report_to: .*comet: takes tensorboard, wandb or mlflow"):
        check(compose("report_to=[comet]"))
