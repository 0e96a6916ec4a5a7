"""MCLS against a forward pass of transformers over ids put together by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.heads.mcls import Mcls
from m3eval.encoders.m3 import load
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import words

TEXTS = ["", "ba", words(1, 6), words(2, 40), words(3, 300), "ba <s> bo </s> " + words(4, 30)]


def encoder(folder, mcls, token_budget=256, engine="auto"):
    return load(
        "m3",
        "M3",
        str(folder),
        None,
        settle("cpu", "fp32", 1, token_budget, 100, 100, engine=engine),
        mcls,
    )


@pytest.mark.parametrize("engine", ["packed", "reference"])
@pytest.mark.parametrize("interval", [1, 7, 16, 256])
def test_equals_a_forward_pass_by_hand(m3, interval, engine):
    found = encoder(m3, interval, engine=engine).encode(
        Request(TEXTS, "document", 100), Wanted(["dense"])
    )
    tokenizer, model = (
        transformers.AutoTokenizer.from_pretrained(m3),
        transformers.AutoModel.from_pretrained(m3).eval(),
    )
    truncated = 0
    for i, text in enumerate(TEXTS):
        ids, places = [0], [0]
        body = tokenizer(text, add_special_tokens=False)["input_ids"]
        for number, token in enumerate(body):
            step = [0, token] if number and number % interval == 0 else [token]
            if len(ids) + len(step) + 1 > 100:
                truncated += 1
                break
            places += [len(ids)] if len(step) == 2 else []
            ids += step
        with torch.no_grad():
            states = model(torch.tensor([[*ids, 2]])).last_hidden_state[0]
        vector = states[places].double().mean(0).numpy()
        np.testing.assert_allclose(
            found.dense[i], vector / np.linalg.norm(vector), rtol=0, atol=2e-6
        )
    assert found.truncated == truncated >= 1


def test_a_short_text_is_as_ever(m3):
    short = [words(seed, 4) for seed in range(5)]
    found, plain = (
        encoder(m3, mcls).encode(Request(short, "query", 100), Wanted(["dense"])).dense
        for mcls in (256, None)
    )
    np.testing.assert_allclose(found, plain, atol=1e-6)


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_no_text_grows_over_the_limit_and_counts_are_those_inserted(interval):
    mcls = Mcls(interval)
    for limit in range(8, 30):
        texts = [np.array([0, *range(10, 10 + n), 2]) for n in range(limit - 1)]
        found = mcls.insert(Tokens(texts, 0), limit)
        assert max(found.lengths) <= limit
        assert mcls.counts(found.lengths).tolist() == [int((ids == 0).sum()) for ids in found.ids]
        assert found.truncated == sum(
            int((old > 2).sum() > (new > 2).sum())
            for old, new in zip(texts, found.ids, strict=True)
        )


def test_dense_only_and_part_of_the_identity(m3):
    found = encoder(m3, 16)
    assert found.identity["mcls"] == 16 and "mcls" not in encoder(m3, None).identity
    with pytest.raises(
        UserError, match="has no sparse representation.*MCLS is defined for dense only"
    ):
        check_able(found, ["dense", "sparse"], 100)
    with pytest.raises(UserError, match=r"encoder.mcls=0"):
        encoder(m3, 0)
    assert len(found.tokenize(Request([words(1, 300)], "query", 100)).ids[0]) == 100


def test_three_stages_and_what_tables_say(pipeline, m3):
    folder = pipeline(
        "encoder=bge_m3_mcls", f"encoder.checkpoint={m3}", "encoder.mcls=16", "retriever=[dense]"
    )
    assert "a CLS every 16" in (folder / "scores" / "scores.md").read_text()
