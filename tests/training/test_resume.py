"""A training that is killed goes on as if nothing had happened, to the last bit."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import save_m3
from tests.training.small import write_examples

# Trains in forks of one process, for importing torch takes longer than training. A fork kills
# itself after some step, as kill -9 does: nothing is flushed, closed or caught.
PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch, transformers
from m3eval.training import run, watch
from tests.training.small import run_training

torch.set_num_threads(1)

def train(outputs, kill_after):
    child = os.fork()
    if child == 0:
        wrote = watch.StepLog.on_step_end
        def die(self, args, state, control, **kwargs):
            wrote(self, args, state, control, **kwargs)
            if state.global_step == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
        watch.StepLog.on_step_end = die
        run_training(Path(sys.argv[1]), Path(sys.argv[2]), Path(outputs), *WORDS)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == (signal.SIGKILL if kill_after else 0), status

WORDS = ["trainer.epochs=2", "trainer.save_every=3", "trainer.part_size=3"]
out = sys.argv[3]
train(f"{out}/whole", None)
for epoch, step in ((1, 4), (2, 13)):
    train(f"{out}/killed-{epoch}", step)
    train(f"{out}/killed-{epoch}", None)
"""


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Folders: one training undisturbed, one killed in the first epoch, one in the second."""
    out = tmp_path_factory.mktemp("killed")
    words = [str(save_m3(out / "m3")), str(write_examples(out / "data.jsonl")), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("resume     from") == 2
    return {name: out / name / "training/mine" for name in ("whole", "killed-1", "killed-2")}


def hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "model").glob("*"))
        if path.is_file()
    }


def steps(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_checkpoint_is_the_same_to_the_bit(trainings, epoch):
    whole, killed = hashes(trainings["whole"]), hashes(trainings[f"killed-{epoch}"])
    assert killed == whole and "model.safetensors" in whole and "sparse_linear.pt" in whole


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_loss_of_every_step_is_the_same(trainings, epoch):
    whole, killed = steps(trainings["whole"]), steps(trainings[f"killed-{epoch}"])
    assert killed == whole
    assert [row["step"] for row in whole] == list(range(1, len(whole) + 1))
    first = [row for row in whole if row["epoch"] <= 1]
    assert 4 < len(first) < 13 < len(whole)  # the first was killed in epoch 1, the second in 2


def test_the_trainers_files_stay_out_of_the_checkpoint(trainings):
    """Every *.json in a checkpoint's folder decides its identity."""
    folder = trainings["whole"]
    assert list(folder.glob("checkpoint-*/trainer_state.json"))
    for place in (folder / "model", *folder.glob("checkpoint-*/model")):
        assert {"config.json", "tokenizer.json"} <= {path.name for path in place.iterdir()}
        assert not list(place.glob("trainer_state.json")) and not list(place.glob("optimizer*"))
