"""Checkpoints that are not what they say: each is refused by name, by every family, unloaded."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from m3eval.config import builder, check, compose
from m3eval.encoders.checkpoint import hashes
from m3eval.encoders.encoder import Request, Wanted
from m3eval.errors import UserError
from tests.conftest import save_m3
from tests.encoders.checkpoints import save_mlm
from tests.needs import imported
from tests.retrievers.test_cross_encoder import save as save_cross_encoder
from tests.retrievers.test_cross_encoder import scores

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 2271064456\n"
FAMILIES = ["bge_m3", "pooled", "splade", "sparse_embed", "clp_moe", "sentence_transformers"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A checkpoint that each family reads."""
    root = tmp_path_factory.mktemp("sound")
    m3 = save_m3(root / "m3")
    moe = shutil.copytree(m3, root / "moe")
    change(moe / "config.json", moe="output", num_experts=2, num_experts_per_tok=1)
    weights = load_file(moe / "model.safetensors")
    for name in [
        name
        for name in weights
        if name.endswith(("0.output.dense.weight", "1.output.dense.weight"))
    ]:
        place = name.removesuffix("weight")
        if "attention" in name:
            continue
        for expert in "01":
            for part in ("weight", "bias"):
                weights[f"{place}experts.{expert}.{part}"] = weights[f"{place}{part}"].clone()
        weights[f"{place}gate.weight"] = torch.randn(2, 64)
        del weights[f"{place}weight"], weights[f"{place}bias"]
    save_file(weights, moe / "model.safetensors", metadata={"format": "pt"})
    library = shutil.copytree(m3, root / "library")
    modules(library, Transformer="", Pooling="1_Pooling", Normalize="2_Normalize")
    return {
        "bge_m3": m3,
        "pooled": m3,
        "splade": save_mlm(root / "splade"),
        "sparse_embed": save_mlm(root / "sparse_embed", width=8),
        "clp_moe": moe,
        "sentence_transformers": library,
    }


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def modules(folder, pooling="cls", model=None, text=None, **kinds):
    """What sentence-transformers writes beside a model."""
    rows = []
    for i, (kind, path) in enumerate(kinds.items()):
        kind = f"sentence_transformers.models.{kind}"
        rows.append({"idx": i, "name": str(i), "path": path, "type": kind})
        (folder / path).mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(rows))
    if "Pooling" in kinds:
        entries = {"word_embedding_dimension": 32, "pooling_mode": pooling}
        (folder / kinds["Pooling"] / "config.json").write_text(json.dumps(entries))
    if model is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(model))
    if text is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(text))


SETTINGS = {
    "pooled": ["encoder.pooling=cls"],
    "sparse_embed": ["encoder.k_tokens.query=5", "encoder.k_tokens.document=5"],
}


def load(family, folder, *words):
    """An encoder as the command line makes it, and a text encoded."""
    if family == "sentence_transformers":
        imported("sentence_transformers")
    named = [] if family == "bge_m3" else ["encoder.name=x"]
    given = [f"encoder={family}", *named, f"encoder.checkpoint={folder}", *SETTINGS.get(family, [])]
    setup = check(compose(*given, *words, "runtime.precision=fp32", "runtime.threads=1"))
    encoder = builder(setup.cfg.encoder)(runtime=setup.runtime)
    return encoder.encode(Request(["ba be"], "query", 30), Wanted(encoder.representations))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sound_ones_are_read(sound, family):
    assert load(family, sound[family]).tokens > 2


def no_tokeniser(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def only_the_tokeniser_s_settings(folder):
    (folder / "tokenizer.json").unlink()


def larger_tokeniser(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    more = dict(tokenizer["added_tokens"][-1], content="<one more>")
    last = len(tokenizer["model"]["vocab"])
    tokenizer["added_tokens"].append(more | {"id": last})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def adapter(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "BAAI/bge-m3"}')
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def pointer_to(name):
    def change(folder):
        (folder / name).write_text(POINTER)

    return change


def cut_at(part):
    def change(folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])

    return change


def longer(folder):
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")


def no_header(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 4096)


def cut_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-999])


def no_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"<html>Not found</html>" * 99)


def index_of(name):
    def change(folder):
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, name)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def fewer_layers(folder):
    change(folder / "config.json", num_hidden_layers=1)


def more_layers(folder):
    change(folder / "config.json", num_hidden_layers=3)


def another_file(folder):
    (folder / "model.safetensors").rename(folder / "other.bin")
    change(folder / "config.json", transformers_weights="other.bin")


def text_of(name, text):
    def change(folder):
        (folder / name).write_text(text)

    return change


def dangling(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "blobs" / "gone")


DAMAGES = [
    (no_tokeniser, "has no tokeniser .*copy tokenizer.json"),
    (only_the_tokeniser_s_settings, "has no tokeniser"),
    (larger_tokeniser, r"the tokeniser has 175 tokens, the model embeddings for 174"),
    (adapter, "holds an adapter .*merge_and_unload"),
    (pointer_to("model.safetensors"), r"model.safetensors is git-LFS's pointer.*git lfs pull"),
    (pointer_to("tokenizer.json"), r"tokenizer.json is git-LFS's pointer"),
    (pointer_to("config.json"), r"config.json is git-LFS's pointer"),
    (cut_at(0.9), r"cut short: it has [\d,]+ bytes, its header names [\d,]+. Fetch it again"),
    (cut_at(0.001), "model.safetensors is damaged or cut short: it has no header"),
    (cut_at(0), "model.safetensors is damaged or cut short"),
    (longer, r"damaged or cut short: it has [\d,]+ bytes"),
    (no_header, "it has no header"),
    (cut_pickle, "pytorch_model.bin is cut short"),
    (no_pickle, "weights in .* cannot be loaded|cannot be loaded by"),
    (index_of("../model-00001-of-00001.safetensors"), "weights lie beside their index"),
    (index_of("/etc/hostname"), "weights lie beside their index"),
    (index_of("weights.pt"), r"are called \*\.safetensors or pytorch_model\*\.bin"),
    (index_of("model-00002-of-00002.safetensors"), "is missing, which .*index.json names"),
    (fewer_layers, r"weights of layers that its config.json leaves out, .*layer\.1\."),
    (more_layers, r"lacks \d+ weights"),
    (another_file, "names its weights itself"),
    (text_of("config.json", "[]"), "holds no object of JSON"),
    (text_of("config.json", '{"model_type": '), "config.json is no valid JSON"),
    (
        text_of("tokenizer.json", '{"version": "1.0", "model"'),
        "cannot be loaded|cannot read|can read",
    ),
    (text_of("tokenizer.json", ""), "tokenizer.json is empty"),
    (dangling, "tokenizer.json cannot be read"),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_refused_by_name(sound, tmp_path, family, damage, message):
    folder = shutil.copytree(sound[family], tmp_path / "damaged")
    damage(folder)
    with pytest.raises(UserError, match=message):
        load(family, folder)


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_cross_encoders_too(tmp_path, damage, message):
    folder = save_cross_encoder(tmp_path / "damaged", "xlm-roberta")
    damage(folder)
    with pytest.raises(UserError, match=message):
        scores(folder)


def test_every_shard_of_an_index_is_in_the_hashes(sound, tmp_path):
    folder = shutil.copytree(sound["pooled"], tmp_path / "shards")
    index_of("model-00001-of-00001.safetensors")(folder)
    whole = load("pooled", sound["pooled"]).dense
    assert (load("pooled", folder).dense == whole).all()
    assert {"model-00001-of-00001.safetensors", "model.safetensors.index.json"} <= {*hashes(folder)}


def test_the_weights_that_are_read_are_those_that_are_hashed(sound, tmp_path):
    """transformers reads pytorch_model.bin where no model.safetensors is, whatever else is."""
    folder = shutil.copytree(sound["pooled"], tmp_path / "both")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    assert "pytorch_model.bin" not in hashes(folder)
    (folder / "model.safetensors").rename(folder / "another.safetensors")
    assert {"pytorch_model.bin", "another.safetensors"} <= {*hashes(folder)}
    (folder / "1_Dense").mkdir()
    (folder / "1_Dense" / "model.safetensors").write_bytes(b"")
    assert "pytorch_model.bin" in hashes(folder, nested=True)


def test_heads_of_another_shape(sound, tmp_path):
    folder = shutil.copytree(sound["bge_m3"], tmp_path / "heads")
    sparse, colbert = folder / "sparse_linear.pt", folder / "colbert_linear.pt"
    sparse.rename(folder / "x")
    colbert.rename(sparse)
    (folder / "x").rename(colbert)
    with pytest.raises(UserError, match=r"gives 32 numbers for a token, and .*exchanged"):
        load("bge_m3", folder)
    torch.save(torch.nn.Linear(32, 1).state_dict(), sparse)
    with pytest.raises(UserError, match=r"gives one number for a token, and must give a vector"):
        load("bge_m3", folder)
    for state in (
        {"weight": torch.zeros(32), "bias": torch.zeros(1)},
        {"weight": torch.zeros(1, 32), "bias": torch.zeros(32)},
        {"weight": torch.zeros(1, 32, 1), "bias": torch.zeros(1)},
    ):
        torch.save(state, sparse)
        with pytest.raises(UserError, match=r"those of a linear layer are \(outputs, inputs\)"):
            load("bge_m3", folder)
    torch.save({"weight": torch.zeros(1, 31), "bias": torch.zeros(1)}, sparse)
    with pytest.raises(UserError, match="reads states of width 31"):
        load("bge_m3", folder)


ALL = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
ASKED = {"query": "q: ", "document": "d: "}


@pytest.mark.parametrize(
    ("said", "words", "message"),
    [
        ({"Dense": "2_Dense"}, [], "has Dense behind its transformer .*sentence_transformers"),
        ({"WeightedLayerPooling": "2_W"}, [], "has WeightedLayerPooling behind"),
        ({"pooling": "mean"}, [], r"pools by mean, here by cls \(encoder.pooling=mean\)"),
        ({"pooling": "lasttoken"}, [], r"\(encoder.pooling=last\)"),
        ({"pooling": "max"}, [], r"pools by max, here by cls \(no setting\)"),
        ({"pooling": ["cls", "mean"]}, [], r"pools by cls and mean, here by cls \(no setting\)"),
        ({}, ["encoder.normalize=false"], r"length 1 \(encoder.normalize=true\)"),
        ({"model": {"prompts": ASKED}}, [], r"'q: ' before a query.*; .*'d: ' before a document"),
        ({"model": {"prompts": {"query": "q: "}}}, ["encoder.query_prefix='q '"], "stands 'q '"),
        ({"model": {"prompts": {"passage": "p: "}}}, [], "'p: ' before a document"),
        (
            {"model": {"prompts": {"any": "a: "}, "default_prompt_name": "any"}},
            [],
            "'a: ' before a query.*'a: ' before a document",
        ),
        ({"model": {"similarity_fn_name": "euclidean"}}, [], "compares vectors by euclidean"),
        ({"text": {"do_lower_case": True}}, [], "lowers the case"),
    ],
)
def test_what_modules_json_says_is_not_ignored(sound, tmp_path, said, words, message):
    folder = shutil.copytree(sound["pooled"], tmp_path / "library")
    modules(folder, **{**ALL, **said})
    with pytest.raises(UserError, match=message):
        load("pooled", folder, *words)


def test_vectors_of_any_length_stay_so(sound, tmp_path):
    folder = shutil.copytree(sound["pooled"], tmp_path / "library")
    dot = {"similarity_fn_name": "dot"}
    modules(folder, model=dot, Transformer="", Pooling="1_Pooling")
    with pytest.raises(UserError, match=r"by dot \(encoder.normalize=false\)"):
        load("pooled", folder)
    load("pooled", folder, "encoder.normalize=false")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, []),
        ({"pooling": "mean"}, ["encoder.pooling=mean"]),
        ({"pooling": "lasttoken"}, ["encoder.pooling=last"]),
        (
            {"model": {"prompts": ASKED}},
            ["encoder.query_prefix='q: '", "encoder.document_prefix='d: '"],
        ),
        # A model card may prescribe what the files do not.
        ({"model": {"prompts": {"query": "", "sts": "s: "}}}, ["encoder.query_prefix='q: '"]),
    ],
)
def test_settings_that_follow_it_are_accepted(sound, tmp_path, said, words):
    folder = shutil.copytree(sound["pooled"], tmp_path / "library")
    modules(folder, **{**ALL, **said})
    load("pooled", folder, *words)


def test_flags_of_earlier_versions_are_understood(sound, tmp_path):
    folder = shutil.copytree(sound["pooled"], tmp_path / "library")
    modules(folder, **ALL)
    path = folder / "1_Pooling" / "config.json"
    path.write_text('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}')
    with pytest.raises(UserError, match=r"pools by mean, here by cls"):
        load("pooled", folder)
    path.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    load("pooled", folder)


def test_a_model_for_queries_says_how_queries_are_read(sound, tmp_path):
    folder = shutil.copytree(sound["pooled"], tmp_path / "queries")
    modules(folder, model={"prompts": ASKED}, **ALL)
    words = [f"encoder.query_checkpoint={folder}"]
    with pytest.raises(UserError, match="'q: ' before a query, here stands ''"):
        load("pooled", sound["pooled"], *words)
    load("pooled", sound["pooled"], *words, "encoder.query_prefix='q: '")


@pytest.mark.parametrize("family", ["bge_m3", "clp_moe"])
def test_families_that_follow_their_checkpoint_refuse_what_is_not_computed(sound, tmp_path, family):
    folder = shutil.copytree(sound[family], tmp_path / "library")
    modules(folder, **ALL)
    by_cls = load(family, folder).dense
    modules(folder, pooling="mean", **ALL)
    assert not np.allclose(load(family, folder).dense, by_cls, atol=1e-3)
    modules(folder, pooling="weightedmean", **ALL)
    with pytest.raises(UserError, match=r"says weightedmean: m3eval computes one of"):
        load(family, folder)
    modules(folder, **ALL | {"Dense": "3_Dense"})
    with pytest.raises(UserError, match=r"Choose|choose encoder=sentence_transformers"):
        load(family, folder)
    (folder / "modules.json").write_text('[{"type": 3}]')
    with pytest.raises(UserError, match="is no list of modules"):
        load(family, folder)
