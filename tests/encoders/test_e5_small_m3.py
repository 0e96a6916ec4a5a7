"""The embedded default with learned heads: what it computes, and that it is what was trained."""

import shutil

import numpy as np
import pytest
import torch

from m3eval.encoders import e5_small_m3 as family
from m3eval.encoders import e5_small_q4
from m3eval.encoders.checkpoint import locate
from m3eval.encoders.encoder import Request, Wanted
from m3eval.errors import UserError
from m3eval.runtime import settle

TEXTS = ["How much protein per day?", "", "Wie viel Eiweiß braucht man?", "protein protein"]
RUNTIME = settle("cpu", "fp32", 1, 4096, 100, 100)
HEADS = "package:m3eval/encoders/e5_small_m3_heads"
ALL = ["dense", "sparse", "multi_vector"]


def load(heads=HEADS):
    return family.load("l", "L", heads, "query: ", "passage: ", RUNTIME)


def encode(encoder):
    return encoder.encode(Request(TEXTS, "query", 64), Wanted(ALL, np.float32))


def test_heads_by_hand_over_the_states_of_one_text_at_a_time():
    encoder = load()
    found = encode(encoder)
    place = locate(HEADS, None)
    sparse, vectors = (
        torch.load(place / name, weights_only=True)
        for name in ("sparse_linear.pt", "colbert_linear.pt")
    )
    model = encoder.backbone.model
    prefix = encoder.prefix_tokens("query")
    special = {*e5_small_q4.SPECIAL.values()}
    for i, text in enumerate(TEXTS):
        (ids,) = encoder.tokenize(Request([text], "query", 64)).ids
        with torch.inference_mode():
            states = model(ids.astype(np.int64), np.array([len(ids)])).float()
        kept = states[1 + prefix :]  # EOS is kept, as in M3
        own = torch.nn.functional.normalize(kept @ vectors["weight"].T + vectors["bias"], dim=-1)
        np.testing.assert_allclose(found.multi_vector[i], own, rtol=0, atol=1e-5)
        weights = (kept @ sparse["weight"][0] + sparse["bias"]).relu()
        expected: dict[int, float] = {}
        for token, weight in zip(ids[1 + prefix :].tolist(), weights.tolist(), strict=True):
            if token not in special and weight > 0:
                expected[token] = max(weight, expected.get(token, 0.0))
        row = found.sparse[[i]]
        assert row.indices.tolist() == sorted(expected)
        np.testing.assert_allclose(row.data, [expected[t] for t in row.indices], atol=1e-5)
    assert found.sparse.nnz > 5


def test_dense_is_that_of_e5_small_q4():
    plain = e5_small_q4.load("l", "L", True, "query: ", "passage: ", RUNTIME)
    np.testing.assert_array_equal(encode(load()).dense, encode(plain).dense)


def test_heads_decide_the_identity_and_are_never_made_up(tmp_path):
    folder = shutil.copytree(locate(HEADS, None), tmp_path / "mine")
    assert load(str(folder)).identity == load().identity
    state = torch.load(folder / "sparse_linear.pt", weights_only=True)
    torch.save({**state, "bias": state["bias"] + 1}, folder / "sparse_linear.pt")
    assert load(str(folder)).identity != load().identity
    (folder / "colbert_linear.pt").unlink()
    with pytest.raises(UserError, match=r"colbert_linear.pt is missing"):
        load(str(folder))


def test_the_card_names_what_made_the_heads():
    text = (locate(HEADS, None) / "README.md").read_text()
    for part in ("m3eval train experiment=m3_heads_e5", "m3eval mine", "CC BY-SA", "seed"):
        assert part in text
    assert text.count("SHA-256") or "sha256" in text
