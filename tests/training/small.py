"""What the tests of training share: examples in made-up words, their tensors, a short training."""

import json
from pathlib import Path

import torch

from m3eval.commands import train
from m3eval.config import Setup, compose
from m3eval.training.collation import Collation
from m3eval.training.data import Drawn
from m3eval.training.start import opened
from tests.conftest import words

GROUP = 3
LENGTHS = {"query": 32, "document": 100}


def drawn(n, first=0):
    """n draws: a question of four words, a document that repeats it, two that do not."""
    return [
        Drawn(
            words(i, 4),
            (words(i, 4) + " " + words(500 + i, 3 + i % 9), words(900 + i, 6), words(1300 + i, 12)),
            (2.0 + i, 1.0, 0.5 * i),
            None,
        )
        for i in range(first, first + n)
    ]


def collation(folder):
    start = opened(str(folder), None)
    special = start.checkpoint.special
    return Collation(start.tokenization, start.prefixes, start.suffixes, LENGTHS, special["pad"])


def write_examples(path: Path, n=40, negatives=4) -> Path:
    """Examples of different lengths, so that there are several length groups."""
    rows = [
        {
            "query": words(i, 4),
            "pos": [words(i, 4) + " " + words(500 + i, 2 + i)],
            "neg": [words(900 + 9 * i + j, 5 + i) for j in range(negatives)],
        }
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_training(start: Path, files: Path, outputs: Path, *changes: str) -> Path:
    """`m3eval train` in this process; gives the folder of the training."""
    words_ = [
        "name=mine",
        f"start={start}",
        f"data.files=[{files}]",
        "data.group=2",
        "data.batch_sizes=[[30,4],[100,3]]",
        "data.max_query_length=32",
        "data.max_document_length=100",
        "trainer.learning_rate=1e-3",
        "runtime.device=cpu",
        "runtime.threads=1",
        f"output_dir={outputs}",
    ]
    given = {word.partition("=")[0] for word in changes}
    kept = [word for word in words_ if word.partition("=")[0] not in given]
    cfg = compose(*kept, *changes, config="train")
    train.run(Setup(cfg))
    return Path(cfg.output_dir) / "training" / cfg.name


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(found, expected, atol, rtol=0.0):
    assert found.keys() == expected.keys() and found
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], atol=atol, rtol=rtol, msg=lambda m, n=name: f"{n}: {m}"
        )
