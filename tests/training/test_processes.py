"""Two processes learn what one would learn of both their batches."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import save_m3
from tests.training.small import close, write_examples


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By (processes, rank), what tests/training/process.py found."""
    out = tmp_path_factory.mktemp("processes")
    start = save_m3(out / "m3")
    files = write_examples(out / "examples.jsonl", n=36)
    for processes, size in ((1, 8), (2, 4)):
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        module = ["-m", "tests.training.process"]
        if processes == 1:
            launch, module = [], module
        words = [*launch, *module, str(start), str(files), str(out), str(size)]
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=240,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stderr[-3000:]
    names = ((1, 0), (2, 0), (2, 1))
    return {name: torch.load(out / f"{name[0]}-{name[1]}.pt") for name in names}


def test_their_gradient_is_that_of_one_process_with_the_whole_batch(results):
    """For the transformer and both heads, through gathered documents and a gradient cache."""
    one, first, second = results.values()
    for found in (first, second):
        close(found["gradients"], one["gradients"], atol=1e-9)
    assert abs(one["loss"] - (first["loss"] + second["loss"]) / 2) < 1e-9
    assert {name.split(".")[0] for name in one["gradients"]} == {"body", "heads"}


def test_a_step_is_of_one_length_group_and_epochs_differ(results):
    one, first, second = (result["epochs"] for result in results.values())
    for epoch in (0, 1):
        assert len(first[epoch]) == len(second[epoch]) == len(one[epoch]) > 2
        together = [a + b for a, b in zip(first[epoch], second[epoch], strict=True)]
        assert together == one[epoch]  # two batches of a step follow each other
    assert one[0] != one[1]
    assert sorted(map(str, np.concatenate(one[0]))) != sorted(map(str, np.concatenate(one[1])))
