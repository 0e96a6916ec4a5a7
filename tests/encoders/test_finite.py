"""A number that is not finite stops what encodes, with the text, the representation and the remedy.

Each damage is one that happens: NaN weights, one NaN row of embeddings, an overflow in fp16, and
numbers too large for the float16 of stores.
"""

import shutil

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from m3eval.encoders import cross_encoder, latent_sparse, pooled, sparse_embed, splade
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.finite import CALLED, NotFinite, first_beyond
from m3eval.encoders.heads.multi_vector import TokenVectors
from m3eval.encoders.m3 import load
from m3eval.encoders.outside import OutsideEncoder, Part
from m3eval.encoders.windows import Windows
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import words
from tests.encoders.checkpoints import save_mlm
from tests.retrievers.test_cross_encoder import save as save_cross_encoder

NAN = float("nan")
IDS = ["first", "second", "third"]
TEXTS = ["be", "ba be", "bo bu"]  # "ba", a token of its own, is in the second only


def runtime(precision="fp32", token_budget=4096):
    return settle("cpu", precision, 1, token_budget, 100, 100)


def damaged(folder, to, change):
    """A copy of a checkpoint with other weights; `change` gets them by name."""
    shutil.copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def everywhere(value, *parts):
    def change(weights):
        for name in weights:
            if all(part in name for part in parts):
                weights[name] = torch.full_like(weights[name], value)

    return change


def without(folder, to, word="ba"):
    """A copy of a checkpoint where one token's row of embeddings is NaN."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (token,) = tokenizer.encode(word, add_special_tokens=False).ids

    def change(weights):
        for name in weights:
            if name.endswith("word_embeddings.weight"):
                weights[name][token] = NAN

    return damaged(folder, to, change)


def load_m3(folder, precision="fp32"):
    return load("m3", "M3", str(folder), None, runtime(precision))


def encode(encoder, name, texts=TEXTS, **settings):
    return encoder.encode(Request(texts, "document", 128, IDS), Wanted([name], **settings))


@pytest.mark.parametrize("name", ["dense", "sparse", "multi_vector"])
def test_one_nan_row_of_embeddings_is_the_text_s_that_has_the_token(m3, tmp_path, name):
    encoder = load_m3(without(m3, tmp_path / "damaged"))
    said = rf"The {CALLED[name]} of document 'second' has nan.*: the checkpoint is damaged"
    with pytest.raises(NotFinite, match=said):
        encode(encoder, name)
    encode(encoder, name, ["be", "bo", "bu"])  # texts without it are as they were


@pytest.mark.parametrize("name", ["dense", "sparse", "multi_vector"])
def test_nan_weights(m3, tmp_path, name):
    folder = damaged(m3, tmp_path / "damaged", everywhere(NAN, "layer.1.output.dense"))
    with pytest.raises(NotFinite, match=f"The {CALLED[name]} of document '"):
        encode(load_m3(folder), name)


@pytest.mark.parametrize("name", ["dense", "sparse", "multi_vector"])
def test_an_overflow_in_fp16_is_none_in_fp32_and_bf16(m3, tmp_path, name):
    folder = damaged(m3, tmp_path / "large", everywhere(1e5, "layer.1.output.dense.bias"))
    with pytest.raises(NotFinite, match=r"choose runtime.precision=fp32 or bf16"):
        encode(load_m3(folder, precision="fp16"), name)
    for precision in ("fp32", "bf16"):
        encode(load_m3(folder, precision=precision), name)


def test_multi_vectors_that_are_made_smaller_where_they_are_computed(m3, tmp_path):
    folder = without(m3, tmp_path / "damaged")

    def reduce(number, rows, vectors):
        return torch.ones(len(rows))  # nothing of what it got

    with pytest.raises(NotFinite, match="The multi-vector of document 'second' has nan"):
        encode(load_m3(folder), "multi_vector", reduce=reduce)


@pytest.mark.parametrize("name", ["dense", "sparse", "multi_vector"])
def test_the_text_that_a_window_is_of(m3, tmp_path, name):
    texts = [words(1, 60), "be " * 40 + "ba", words(2, 5).replace("ba", "be")]
    texts[0] = texts[0].replace("ba", "be")
    encoder = load_m3(without(m3, tmp_path / "damaged"))
    encoder.windows = Windows(16, 8)
    with pytest.raises(NotFinite, match="document 'second'"):
        encode(encoder, name, texts)


def test_texts_without_ids_are_counted(m3, tmp_path):
    encoder = load_m3(without(m3, tmp_path / "damaged"))
    with pytest.raises(NotFinite, match="dense vector of query number 2 has nan"):
        encoder.encode(Request(TEXTS, "query", 128), Wanted(["dense"]))


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("k", [None, 5])
def test_splade(tmp_path, pooling, k):
    folder = without(save_mlm(tmp_path / "mlm"), tmp_path / "damaged")
    both = {"query": k, "document": k}
    settings = (pooling, both, "keep", 0.0, "", "", 0)
    encoder = splade.load("s", "S", str(folder), None, *settings, runtime())
    with pytest.raises(NotFinite, match="sparse vector of document 'second' has nan"):
        encode(encoder, "sparse")


def projected(folder, weight):
    torch.save({"weight": weight}, folder / "linear.pt")
    both = {"query": 5, "document": 5}
    settings = ("positions", both, "drop", "", "", 0)
    return sparse_embed.load("s", "S", str(folder), None, *settings, runtime())


@pytest.mark.parametrize(
    ("weight", "message"),
    [(NAN, "has nan"), (1e30, r"has [\d.e+]+ in it, stores hold float16, up to 65,504")],
)
def test_term_vectors(tmp_path, weight, message):
    encoder = projected(save_mlm(tmp_path / "mlm"), torch.full((8, 32), weight))
    with pytest.raises(NotFinite, match=rf"vector of a term of document '.*{message}"):
        encode(encoder, "term_vectors")
    encode(encoder, "sparse")


def test_latent_terms(monkeypatch):
    layer, of_token = latent_sparse.read_layer(latent_sparse.find("sae.bin", latent_sparse.SHA256))
    layer.bias[7] = NAN
    monkeypatch.setattr(latent_sparse, "read_layer", lambda path: (layer, of_token))
    for k in (None, 9):
        encoder = latent_sparse.load("l", "L", k, "", "", runtime())
        with pytest.raises(NotFinite, match=r"sparse vector of document '\w+' has nan"):
            encode(encoder, "sparse")


def test_dense_vectors_too_large_for_a_store(m3, tmp_path):
    folder = damaged(m3, tmp_path / "large", everywhere(1e5, "layer.1.output.LayerNorm.weight"))

    def pooling(normalize):
        return pooled.load("p", "P", str(folder), None, "cls", normalize, "", "", runtime())

    with pytest.raises(NotFinite, match=r"65,504: set encoder\.normalize=true.*type=float32"):
        encode(pooling(False), "dense")
    exact = encode(pooling(False), "dense", dtype=np.float32).dense  # for no store
    assert np.abs(exact).max() > 65_504
    kept = encode(pooling(False), "dense", dense_dtype=np.float32).dense
    np.testing.assert_array_equal(kept, exact)
    unit = encode(pooling(True), "dense").dense
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, 1e-5)


@pytest.mark.parametrize("name", ["dense", "sparse", "multi_vector"])
def test_a_library_s_or_a_service_s_vectors(name):
    class Backend:
        """Gives the texts in two parts, the last first, and the second text's number is none."""

        def tokenize(self, request):
            return Tokens([np.zeros(2, np.int32)] * len(request.texts), 0)

        def compute(self, request, tokens):
            yield part(name, np.array([2]), np.ones((1, 4), np.float32))
            values = np.ones((2, 4), np.float32)
            values[0, 3] = NAN
            yield part(name, np.array([1, 0]), values)

    encoder = OutsideEncoder("o", "O", "library 1.0", name, 4, 128, {}, Backend())
    said = rf"The {CALLED[name]} of document 'second' has nan.*: library 1.0 gave it"
    with pytest.raises(NotFinite, match=said):
        encode(encoder, name)
    encoder.identity["precision"] = "fp16"
    with pytest.raises(NotFinite, match="choose runtime.precision=fp32 or bf16"):
        encode(encoder, name)


def part(name, rows, values):
    return {
        "dense": lambda: Part(rows, dense=values),
        "sparse": lambda: Part(rows, sparse=scipy.sparse.csr_array(values)),
        "multi_vector": lambda: Part(rows, multi_vector=[row.reshape(2, 2) for row in values]),
    }[name]()


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_a_cross_encoder_s_scores(tmp_path, kind):
    folder = without(save_cross_encoder(tmp_path / "sound", kind), tmp_path / "damaged")
    model = cross_encoder.load(str(folder), None, 64, runtime())
    pairs = [("be", "bo"), ("be", "ba"), ("bu", "bo")]
    with pytest.raises(NotFinite, match=r"cross-encoder's score of pair 1 has nan"):
        list(model.scores(model.framed(pairs)))


def test_stage_0_names_the_text(pipeline, m3, tmp_path):
    folder = damaged(m3, tmp_path / "damaged", everywhere(NAN, "layer.1.output.dense"))
    with pytest.raises(UserError, match=r"(dense|sparse) vector of (document '\d+#0'|query '\d')"):
        pipeline("embed", f"encoder.checkpoint={folder}")
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(("longest", "kind"), [(0, "query"), (40, "document")])
def test_stage_1_names_the_text_that_it_encodes_again(pipeline, monkeypatch, longest, kind):
    """Only multi-vectors are damaged, which stage 0 does not ask for; queries have few tokens."""
    sound = TokenVectors.__call__

    def of_short_texts_only(self, hidden, n_prefix):
        (vectors,) = sound(self, hidden, n_prefix)
        counts = self.vectors(hidden.lengths, n_prefix)
        vectors[torch.from_numpy(np.repeat(hidden.lengths > longest, counts))] = NAN
        return (vectors,)

    monkeypatch.setattr(TokenVectors, "__call__", of_short_texts_only)
    pipeline("embed", "representations=[dense]")
    with pytest.raises(UserError, match=rf"The multi-vector of {kind} '\d+(#0)?' has nan"):
        pipeline("search", "retriever=[dense,multi_vector]")


def test_stage_1_names_the_pair_that_it_reranks(pipeline, m3, tmp_path):
    folder = save_cross_encoder(tmp_path / "sound", "xlm-roberta")
    folder = damaged(folder, tmp_path / "damaged", everywhere(NAN, "classifier"))
    asked = ["retriever=[dense,cross_encoder]", f"retriever.cross_encoder.checkpoint={folder}"]
    pipeline("embed", "representations=[dense]")
    with pytest.raises(UserError, match=r"score of query '\d' with document '\d+#0' has nan"):
        pipeline("search", *asked, "retriever.cross_encoder.max_length=64")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("value", [NAN, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite(dtype, value):
    values = np.ones((5, 3), dtype)
    most = float(np.finfo(dtype).max)
    assert first_beyond(values, most) is None and first_beyond(values[:0], most) is None
    values[3, 1] = values[4, 0] = value
    assert first_beyond(values, most) == 3 and first_beyond(values[:, 1], most) == 3
    assert first_beyond(np.array([1, -65_504, 65_504], np.float32), 65_504) is None
    assert first_beyond(np.array([1, -65_505], np.float32), 65_504) == 1
