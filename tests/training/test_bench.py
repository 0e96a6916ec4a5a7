"""The measure of a training on a GPU, on a small model and a CPU."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from bench import train

LENGTH, BATCH = 30, 2


@pytest.mark.parametrize("way", train.WAYS)
def test_every_way_of_saving_memory_trains_all_heads(m3, tmp_path, way):
    checkpoint = tmp_path / "m3"
    shutil.copytree(m3, checkpoint)
    data = train.examples(tmp_path / "texts.jsonl", LENGTH, 2 * BATCH)
    train.run(checkpoint, data, LENGTH, BATCH, 2, "cpu", *train.WAYS[way])
    folder = tmp_path / "outputs/training/bench"
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert len(steps) == 2
    assert all({"ce_dense", "kl_sparse", "kl_multi_vector"} <= step.keys() for step in steps)


def test_a_step_takes_the_difference_of_two_trainings_by_that_of_their_steps(tmp_path, monkeypatch):
    clock = [0.0]

    def run(checkpoint, data, length, batch, steps, device, *words):
        clock[0] += 7 + 0.5 * steps  # a start of 7 seconds does not count

    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    found = train.case(tmp_path, tmp_path, LENGTH, BATCH, "gradient cache", (), "cpu")
    assert found["seconds_a_step"] == 0.5 and found["peak_gib"] is None  # memory is a GPU's
    assert found["tokens_a_second"] == BATCH * (train.GROUP * LENGTH + train.QUERY) / 0.5


def test_what_does_not_fit_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(train, "run", full)
    found = train.case(tmp_path, tmp_path, 512, 16, "activations kept", (), "cpu")
    assert found["out_of_memory"] is True and "seconds_a_step" not in found
