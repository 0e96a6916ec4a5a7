"""Weights as transformers reads them, in memory once."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.pretrained import Pretrained
from m3eval.encoders.engine.weights import TABLE, from_folder, rows_of
from m3eval.runtime import settle
from tests.conftest import save_tokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "pad_token_id": 1,
}
CONFIGS = {
    "bert": transformers.BertConfig(**SHAPE),
    "roberta": transformers.RobertaConfig(**SHAPE),
    "xlm-roberta": transformers.XLMRobertaConfig(**SHAPE),
    "distilbert": transformers.DistilBertConfig(vocab_size=200, dim=32, n_layers=2, n_heads=4),
}
KINDS = (
    transformers.AutoModel,
    transformers.AutoModelForMaskedLM,
    transformers.AutoModelForSequenceClassification,
)


def save(folder: Path, name: str, kind: Any = transformers.AutoModel, **how: Any) -> Path:
    torch.manual_seed(0)
    save_tokenizer(folder)
    kind.from_config(CONFIGS[name]).save_pretrained(folder, **how)
    return folder


def require_equal(found, expected) -> None:
    (model, said), (other, as_transformers) = found, expected
    assert type(model) is type(other)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert sorted(map(str, said[kind])) == sorted(map(str, as_transformers[kind]))
    state, theirs = model.state_dict(), other.state_dict()
    assert state.keys() == theirs.keys()
    for each, weights in state.items():
        assert weights.dtype == theirs[each].dtype, each
        if each not in said["missing_keys"]:  # these are random
            assert torch.equal(weights, theirs[each]), each


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", CONFIGS)
def test_weights_are_those_that_transformers_reads(tmp_path, name, kind):
    """In both precisions, of the class that was saved and of one that lacks some or has others."""
    folder = save(tmp_path / "m", name, transformers.AutoModelForMaskedLM)
    for dtype in (torch.float32, torch.bfloat16):
        require_equal(
            from_folder(kind, folder, dtype),
            kind.from_pretrained(folder, dtype=dtype, output_loading_info=True),
        )


def test_weights_in_several_files_are_read(tmp_path):
    folder = save(tmp_path / "m", "xlm-roberta", max_shard_size="30kB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    require_equal(
        from_folder(transformers.AutoModel, folder, torch.float32),
        transformers.AutoModel.from_pretrained(folder, output_loading_info=True),
    )


def test_pytorchs_files_are_read(tmp_path):
    folder = save(tmp_path / "m", "bert")
    expected = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    torch.save(expected[0].state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    require_equal(from_folder(transformers.AutoModel, folder, torch.float32), expected)


def maps_of(place: Path) -> list[list[str]]:
    """The lines of /proc/self/smaps on each map of a file: its address first."""
    parts, lines = [], Path("/proc/self/smaps").read_text().splitlines()
    for line in lines:
        if not line.split()[0].endswith(":"):
            parts.append([])
        parts[-1].append(line)
    return [part for part in parts if part[0].endswith(str(place))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_keeps_the_file_in_memory_but_the_table_of_words(tmp_path, dtype):
    folder = save(tmp_path / "m", "bert")
    model, _ = from_folder(transformers.AutoModel, folder, dtype)
    maps = maps_of(folder / "model.safetensors")
    if dtype == torch.bfloat16:  # the table is a copy
        assert not maps
        return
    from_folder(transformers.AutoModel, folder, dtype, by_rows=False)
    assert len(maps_of(folder / "model.safetensors")) == 1
    (only,) = maps
    low, high = (int(word, 16) for word in only[0].split()[0].split("-"))
    table = dict(model.named_parameters())[f"embeddings.{TABLE}"]
    assert low <= table.data_ptr() < high
    assert high - low < table.nbytes + 3 * 4096 < (folder / "model.safetensors").stat().st_size
    del model, table
    assert not maps_of(folder / "model.safetensors")


def test_what_was_read_of_the_table_goes_back_after_a_pack(tmp_path):
    folder = save(tmp_path / "m", "xlm-roberta")
    runtime = settle("cpu", "fp32", 1, 256, 100, 100, engine="packed")
    model: Any = Backbone(Pretrained(folder), runtime).model
    ids, lengths = np.arange(199, 49, -1), np.array([90, 60])  # more than are read at once

    def resident() -> int:
        (only,) = maps_of(folder / "model.safetensors")
        return int(next(line.split()[1] for line in only if line.startswith("Rss:")))

    _ = model.words.weight.sum()
    assert resident() > 0
    with torch.inference_mode():
        once, again = model(ids, lengths), model(ids, lengths)
    assert resident() == 0
    assert torch.equal(once, again)


@pytest.mark.parametrize("write", ["in place", "by an optimizer"])
def test_what_training_wrote_into_the_table_stays(tmp_path, write):
    model, _ = from_folder(transformers.AutoModel, save(tmp_path / "m", "bert"), torch.float32)
    table, ids = model.embeddings.word_embeddings.weight, np.arange(150)
    with torch.inference_mode():
        rows_of(table, ids)
    if write == "in place":
        with torch.no_grad():
            table.add_(1)
    else:
        table.grad = torch.ones_like(table)
        torch.optim.AdamW([table], lr=0.1).step()
    expected = table.detach().clone()
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(rows_of(table, ids), expected[:150])
        assert torch.equal(table, expected)


def test_a_table_that_was_loaded_for_inference_only_is_read(tmp_path):
    folder = save(tmp_path / "m", "bert")
    with torch.inference_mode():
        model, _ = from_folder(transformers.AutoModel, folder, torch.float32)
        table = model.embeddings.word_embeddings.weight
        assert torch.equal(rows_of(table, np.arange(9)), table[:9])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_onednn_lays_out_is_not_kept_beside_it(tmp_path, precision):
    pretrained = Pretrained(save(tmp_path / "m", "xlm-roberta"))
    seen = []

    def load(dtype):
        model = pretrained.load(dtype)
        seen.extend(
            weakref.ref(module.weight)
            for module in model.modules()
            if isinstance(module, torch.nn.Linear)
        )
        return model

    runtime = settle("cpu", precision, 1, 256, 100, 100, engine="packed")
    assert Backbone(pretrained, runtime, load=load).model is not None
    assert len(seen) == 2 * 6 + 1
    assert not [weight for weight in (each() for each in seen) if weight is not None]
