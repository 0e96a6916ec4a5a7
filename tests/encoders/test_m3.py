"""M3's three representations against a second implementation: transformers one text at a time,
formulas by hand.
"""

import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from m3eval.encoders import m3 as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.errors import UserError
from m3eval.runtime import settle
from tests.conftest import words
from tests.encoders import checkpoints

TEXTS = [
    *checkpoints.TEXTS,
    "unbekannt ☃ ba",
    "<mask> ba </s> ba",
]
ALL = ["dense", "sparse", "multi_vector"]


def load(folder, token_budget=4096, precision="fp32"):
    runtime = settle("cpu", precision, 1, token_budget, 100, 100)
    return family.load("m3", "M3", str(folder), None, runtime)


def by_hand(folder, text, max_length=128):
    """Dense [h], lexical {id: weight}, vectors [n - 1, h], from the definitions in the M3 paper,
    without padding.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = model(ids).last_hidden_state[0].double().numpy()
    heads = {name: torch.load(folder / f"{name}_linear.pt") for name in ("sparse", "colbert")}
    linear = {
        n: states @ h["weight"].double().numpy().T + h["bias"].double().numpy()
        for n, h in heads.items()
    }
    lexical = {}
    for token, weight in zip(ids[0].tolist(), linear["sparse"][:, 0], strict=True):
        if token not in (0, 1, 2, 3) and weight > 0:
            lexical[token] = max(lexical.get(token, 0), weight)
    vectors = linear["colbert"][1:]
    return (
        states[0] / np.linalg.norm(states[0]),
        lexical,
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    )


@pytest.mark.parametrize("token_budget", [1, 128, 10_000])
def test_representations_equal_the_definitions(m3, token_budget):
    found = load(m3, token_budget).encode(Request(TEXTS, "document", 128), Wanted(ALL))
    for i, text in enumerate(TEXTS):
        dense, lexical, vectors = by_hand(m3, text)
        np.testing.assert_allclose(found.dense[i], dense, atol=2e-6)
        row = found.sparse[[i]]
        assert dict(zip(row.indices.tolist(), row.data, strict=True)) == pytest.approx(
            lexical, abs=1e-5
        )
        assert row.indices.tolist() == sorted(lexical)
        # Float16 on the way to a store.
        np.testing.assert_allclose(found.multi_vector[i].astype(float), vectors, atol=1e-3)
    assert found.truncated == 1
    assert found.dense.dtype == np.float32 and found.sparse.indices.dtype == np.int32


def test_specials_carry_no_weight_but_mask_does(m3, tmp_path):
    folder = shutil.copytree(m3, tmp_path / "m3")
    head = torch.load(folder / "sparse_linear.pt")
    # Every token has a weight now.
    torch.save(head | {"bias": head["bias"] + 100}, folder / "sparse_linear.pt")
    encoder = load(folder)
    ids = set(encoder.backbone.tokenization(["<mask> ba </s> ☃"], 128).ids[0].tolist())
    sparse = encoder.encode(Request(["<mask> ba </s> ☃"], "query", 128), Wanted(["sparse"])).sparse
    assert {0, 2, 3} <= ids and set(sparse.indices.tolist()) == ids - {0, 1, 2, 3}
    assert encoder.backbone.tokenization.tokenizer.token_to_id("<mask>") in sparse.indices


@pytest.mark.parametrize("max_length", [8, 9, 64, 128])
def test_a_cut_text_keeps_its_end_token(m3, max_length):
    tokens = load(m3).backbone.tokenization([words(1, 300), "ba"], max_length)
    assert len(tokens.ids[0]) == max_length and tokens.ids[0][-1] == 2 and tokens.truncated == 1


def test_only_what_is_asked_for_is_computed(m3):
    found = load(m3).encode(Request(["ba"], "query", 128), Wanted(["sparse"]))
    assert found.dense is None and found.multi_vector is None and found.sparse.nnz == 1


def test_precisions_agree_within_their_digits(m3):
    fp32, bf16 = (
        load(m3, precision=p).encode(Request(TEXTS, "query", 128), Wanted(["dense"])).dense
        for p in ("fp32", "bf16")
    )
    assert bf16.dtype == np.float32
    assert (fp32 * bf16).sum(1).min() > 0.995 and not np.array_equal(fp32, bf16)


@pytest.mark.parametrize("name", ["sparse_linear.pt", "colbert_linear.pt"])
def test_a_missing_head_is_never_made_up(m3, tmp_path, name):
    folder = shutil.copytree(m3, tmp_path / "m3")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing.*never"):
        load(folder)


def first_pack(folder):
    """Encodes a text; fails the test where one is encoded although the checkpoint is unfit."""

    def on_pack(number, rows):
        pytest.fail("a text was encoded")

    load(folder).encode(Request(["ba"], "query", 128), Wanted(["dense"], on_pack=on_pack))


def test_a_damaged_head_or_one_of_another_width_is_named_before_a_text_is_encoded(m3, tmp_path):
    folder = shutil.copytree(m3, tmp_path / "m3")
    torch.save(torch.nn.Linear(16, 1).state_dict(), folder / "sparse_linear.pt")
    with pytest.raises(
        UserError, match=r"sparse_linear.pt reads states of width 16, the backbone's have 32"
    ):
        first_pack(folder)
    (folder / "sparse_linear.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"sparse_linear.pt is not a linear layer's state"):
        first_pack(folder)


class Malicious:
    def __reduce__(self):
        return (print, ("code of a checkpoint ran",))


def test_code_in_a_head_file_is_not_run(m3, tmp_path, capsys):
    folder = shutil.copytree(m3, tmp_path / "m3")
    torch.save({"weight": Malicious()}, folder / "sparse_linear.pt")
    with pytest.raises(UserError, match=r"sparse_linear.pt is not"):
        first_pack(folder)
    assert "ran" not in capsys.readouterr().out


def test_missing_backbone_weights_are_refused(m3, tmp_path):
    folder = shutil.copytree(m3, tmp_path / "m3")
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights.*encoder.layer.1.output.dense.weight"):
        load(folder).encode(Request(["ba"], "query", 128), Wanted(["dense"]))


def test_identity_follows_the_files_not_the_folder(m3, tmp_path):
    folder = shutil.copytree(m3, tmp_path / "elsewhere")
    assert load(folder).identity == load(m3).identity
    torch.save(torch.nn.Linear(32, 1).state_dict(), folder / "sparse_linear.pt")
    assert load(folder).identity != load(m3).identity


def test_pytorch_bin_is_read_too(m3, tmp_path):
    """BGE-M3's own repository has pytorch_model.bin."""
    folder = shutil.copytree(m3, tmp_path / "m3")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    one, two = (
        load(path).encode(Request(TEXTS, "query", 128), Wanted(["dense"])).dense
        for path in (m3, folder)
    )
    np.testing.assert_array_equal(one, two)
    assert "pytorch_model.bin" in load(folder).identity["files"]
