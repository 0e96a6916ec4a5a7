"""Dense-only encoders: pooling, prefixes and limits by configuration."""

import numpy as np
import pytest
import torch
import transformers

from m3eval.encoders import pooled
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import save_tokenizer, words

TEXTS = [words(1, 12), "ba", words(2, 30)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT with random weights: positions count from 0, unlike XLM-R's."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(1)
    save_tokenizer(folder)
    config = transformers.BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=1,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def load(folder, pooling="mean", normalize=True, query_prefix="", passage_prefix=""):
    runtime = settle("cpu", "fp32", 1, 64, 100, 100)
    return pooled.load("p", "P", str(folder), None, pooling, normalize, query_prefix, passage_prefix, runtime)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling(bert, pooling, normalize):
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(bert), transformers.AutoModel.from_pretrained(bert).eval()
    found = load(bert, pooling, normalize, passage_prefix="ba ").encode(TEXTS, "passage", ["dense"], 64).dense
    for i, text in enumerate(TEXTS):
        ids = tokenizer("ba " + text, truncation=True, max_length=64, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0].double().numpy()
        vector = {"cls": states[0], "mean": states.mean(0), "last": states[-1]}[pooling]
        np.testing.assert_allclose(found[i], vector / np.linalg.norm(vector) if normalize else vector, rtol=1e-4, atol=2e-5)


def test_prefixes_belong_to_roles(bert):
    encoder = load(bert, query_prefix="ba: ", passage_prefix="")
    same = load(bert).encode(["ba: bo"], "query", ["dense"], 64).dense
    np.testing.assert_array_equal(encoder.encode(["bo"], "query", ["dense"], 64).dense, same)
    assert not np.allclose(encoder.encode(["bo"], "passage", ["dense"], 64).dense, same)


def test_limit_and_lacking_representations_are_refused(bert):
    encoder = load(bert)
    assert encoder.backbone.limit == 64 and encoder.representations == ["dense"]
    with pytest.raises(UserError, match="reads at most 64"):
        encoder.check(["dense"], 65)
    with pytest.raises(UserError, match=r"has no multi_vector or sparse representation: its checkpoint has dense"):
        encoder.check(["dense", "sparse", "multi_vector"], 64)


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a checkpoint that transformers can read"):
        load(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load(tmp_path / "nowhere")
