"""Terms of a text in words: the function against the rows, the command as a user starts it."""

import os
import subprocess
import sys

import numpy as np
import scipy.sparse

from m3eval.commands.decode import activated_terms
from m3eval.config import Setup, compose
from m3eval.encoders import m3 as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.runtime import settle
from tests.encoders.checkpoints import METADATA, save_mlm


def decode(tmp_path, *words, **settings):
    command = [
        sys.executable,
        "-m",
        "m3eval",
        "decode",
        "runtime.threads=1",
        "runtime.precision=fp32",
        f"output_dir={tmp_path}",
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, env=environment, timeout=120, **settings
    )


def test_terms_heaviest_first(m3):
    encoder = family.load("m3", "M3", str(m3), None, settle("cpu", "fp32", 1, 4096, 100, 100))
    ba, be, ma = (
        encoder.backbone.tokenization.tokenizer.token_to_id(piece)
        for piece in ("▁ba", "▁be", "▁ma")
    )
    row = scipy.sparse.csr_array((np.float32([2, 3, 2]), ([0, 0, 0], [ba, be, ma])), shape=(1, 500))
    assert [tuple(term) for term in activated_terms(encoder, row)] == sorted(
        [(be, "▁be", 3.0), (ba, "▁ba", 2.0), (ma, "▁ma", 2.0)],
        key=lambda term: (-term[2], term[0]),
    )
    encoded = encoder.encode(Request(["ba be ba"], "query", 128), Wanted(["sparse"])).sparse
    found = {term.word: term.weight for term in activated_terms(encoder, encoded)}
    assert found == {
        encoder.backbone.tokenization.tokenizer.decode([n]): w
        for n, w in zip(encoded.indices, encoded.data, strict=True)
    }


def test_latent_terms_are_numbers():
    encoder = Setup(compose("encoder=latent_sparse")).encoder
    row = scipy.sparse.csr_array((np.float32([1, 2]), ([0, 0], [5, 16_000])), shape=(1, 16_384))
    assert [tuple(term) for term in activated_terms(encoder, row)] == [
        (16_000, None, 2.0),
        (5, None, 1.0),
    ]


def test_the_command(tmp_path):
    folder = save_mlm(tmp_path / "checkpoint", "bert", METADATA, width=8)
    words = ["encoder=sparse_embed", "encoder.name=x", f"encoder.checkpoint={folder}"]
    found = decode(tmp_path, *words, "text=ma de", "k=2")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "'ba: ma de <mask> <mask> <mask>': 12 tokens, 12 terms" in found.stdout
    weights = [float(line.split()[0]) for line in found.stdout.splitlines()[-2:]]
    assert weights == sorted(weights, reverse=True) and weights[1] > 0
    lines = decode(tmp_path, *words, "role=document", input="ma, (de)?\nde 'ma'\n")
    assert (
        lines.returncode == 0
        and lines.stdout.count(" 30 terms") == 2
        and "\"do de 'ma' <mask>" in lines.stdout
    )


def test_what_cannot_be_decoded_ends_with_status_2(tmp_path, m3):
    found = decode(tmp_path, "text=ba", "role=both", f"encoder.checkpoint={m3}")
    assert found.returncode == 2 and "role=both: takes query or document" in found.stdout
    words = ["encoder=pooled", "encoder.name=x", "encoder.pooling=mean", f"encoder.checkpoint={m3}"]
    found = decode(tmp_path, "text=ba", *words)
    assert found.returncode == 2 and "has no sparse representation" in found.stdout
