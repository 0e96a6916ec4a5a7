"""The worked example: an encoder that gives its values passes, every other fails with status 1."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from m3eval.commands.verify import EXAMPLE, checks
from m3eval.encoders.representations import Ragged, Representations
from m3eval.files import read_json

TOKENS = ["What", "is", "B", "GE", "M", "3", "?", "De", "fin", "ation", "of", "BM", "25", "other"]


class Published:
    """Representations with the published scores: queries are unit vectors, documents the scores."""

    tokenization = SimpleNamespace(tokenizer=SimpleNamespace(decode=lambda ids: TOKENS[ids[0]]))

    def __init__(self):
        example = read_json(EXAMPLE)
        self.values, self.scores = example["notebook"], example["readme"]

    def encode(self, request, wanted):
        counts = [8, 7] if request.role == "query" else [30, 28]
        vectors = np.zeros((sum(counts), 1024), wanted.dtype)
        if request.role == "query":
            vectors[:8, 0] = vectors[8:, 1] = 1
            dense = np.eye(2, dtype=np.float32)
            rows = [
                {TOKENS.index(token): weight for token, weight in row.items()}
                for row in self.values["lexical_weights"]
            ]
        else:
            dense = np.array(self.scores["dense"], np.float32).T
            vectors[:30, :2], vectors[30:, :2] = np.array(self.scores["multi_vector"]).T
            weights = self.values["lexical_weights"]
            (a, b), (_, d) = self.scores["sparse"]
            rows = [
                {TOKENS.index("M"): a / weights[0]["M"]},
                {
                    TOKENS.index("is"): b / weights[0]["is"],
                    TOKENS.index("25"): d / weights[1]["25"],
                },
            ]
        sparse = scipy.sparse.lil_array((2, len(TOKENS)), dtype=np.float32)
        for i, row in enumerate(rows):
            for token, weight in row.items():
                sparse[i, token] = weight
        return Representations(
            dense=dense,
            sparse=sparse.tocsr(),
            multi_vector=Ragged(vectors, np.array([0, counts[0], sum(counts)])),
        )


def test_the_published_values_pass():
    found = list(checks(Published(), Published.tokenization, "fp32"))
    assert len(found) == 60 and [check.name for check in found if not check.ok] == []


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("dense", lambda given: given.scores["dense"][1].__setitem__(0, 0.36)),
        ("sparse", lambda given: given.scores["sparse"][0].__setitem__(1, 0.02)),
        ("multi_vector", lambda given: given.scores["multi_vector"][1].__setitem__(1, 0.78)),
        (
            "weight of 'GE' in query 1",
            lambda given: given.values["lexical_weights"][0].update(GE=0.26),
        ),
        (
            "weight of 'other' in query 2",
            lambda given: given.values["lexical_weights"][1].update(other=0.1),
        ),
        (
            "weight of '25' in query 2",
            lambda given: given.values["lexical_weights"][1].update({"25": 0.3}),
        ),
    ],
)
def test_each_wrong_value_is_seen(where, change):
    given = Published()
    change(given)
    wrong = [check.name for check in checks(given, given.tokenization, "fp16") if not check.ok]
    assert any(where in name for name in wrong), wrong


def test_a_coarser_precision_is_allowed_more():
    fine, coarse = (
        list(checks(Published(), Published.tokenization, precision))
        for precision in ("fp32", "bf16")
    )
    assert {check.tolerance for check in fine if check.name.startswith("notebook: dense")} == {1e-4}
    assert {check.tolerance for check in fine if check.name.startswith("readme: dense")} == {1e-3}
    assert {check.tolerance for check in coarse if ": dense" in check.name} == {1e-2}


def verify(tmp_path, *words):
    command = [
        sys.executable,
        "-m",
        "m3eval",
        "verify",
        "runtime.threads=1",
        f"output_dir={tmp_path}",
        *words,
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        timeout=120,
    )


def test_a_random_checkpoint_fails_with_status_1(m3, tmp_path):
    found = verify(tmp_path, f"encoder.checkpoint={m3}")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    for part in (
        "DIFFERS",
        "weight of 'GE' in query 1",
        "their width",
        "FAILED: ",
        "pytorch_model.bin",
    ):
        assert part in found.stdout, part


def test_an_encoder_without_all_representations_ends_with_status_2(tmp_path):
    words = [
        "encoder=pooled",
        "encoder.name=x",
        "encoder.pooling=mean",
        f"encoder.checkpoint={tmp_path / 'none'}",
    ]
    found = verify(tmp_path, *words)
    assert found.returncode == 2 and "is not a folder" in found.stdout
