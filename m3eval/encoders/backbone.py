"""Tokeniser and transformer: texts -> token ids -> last hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from m3eval.encoders import packed, reference
from m3eval.encoders.execution import Pack, to_device
from m3eval.encoders.linear import for_cpu
from m3eval.encoders.tokenization import Tokenization
from m3eval.errors import UserError
from m3eval.runtime import Runtime


class Hidden(NamedTuple):
    """Last hidden states of a pack of B texts with T tokens."""

    rows: np.ndarray  # [B] positions of the texts in the list that was encoded
    lengths: np.ndarray  # [B] int64
    ids: torch.Tensor  # [T] int64
    states: torch.Tensor  # [T, h], in what the model computes

    def on_device(self, array: np.ndarray) -> torch.Tensor:
        """A host array beside the states."""
        return to_device(array, self.states.device)


@dataclass
class Backbone:
    """A tokeniser and a model that is loaded when first needed."""

    tokenizer: Tokenizer
    load: Callable[[torch.dtype], torch.nn.Module]
    config: transformers.PretrainedConfig
    special: dict[str, int]  # ids of cls, eos, pad, unk
    runtime: Runtime

    @property
    def engine(self) -> Literal["packed", "reference"]:
        """Which forward pass computes.

        Raises:
            UserError: packed is asked for and this architecture is none of its own.
        """
        if self.runtime.engine == "auto":
            return "packed" if packed.supports(self.config) else "reference"
        if self.runtime.engine == "packed" and not packed.supports(self.config):
            raise UserError(
                f"runtime.engine=packed computes {', '.join(sorted(packed.BERT | packed.ROBERTA))} with absolute positions, "
                f"this checkpoint is a {self.config.model_type}: choose engine=auto or reference."
            )
        return self.runtime.engine

    @cached_property
    def model(self) -> torch.nn.Module:
        """The transformer on its device, in the run's precision, in evaluation mode."""
        wrap = packed.PackedTransformer if self.engine == "packed" else reference.PaddedTransformer
        model = wrap(self.load(self.runtime.dtype)).to(self.runtime.device).eval()
        if self.runtime.precision == "int8":
            return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
        return for_cpu(model) if self.runtime.device == "cpu" and self.engine == "packed" else model

    @property
    def limit(self) -> int:
        """The longest input in tokens. RoBERTa-like models count positions from the padding id + 1 on."""
        positions = self.config.max_position_embeddings
        from_padding = packed.ROBERTA | {"xlm-roberta-xl"}
        return positions - self.config.pad_token_id - 1 if self.config.model_type in from_padding else positions

    @cached_property
    def tokenize(self) -> Tokenization:
        """Texts -> token ids: see `Tokenization.__call__`."""
        return Tokenization(self.tokenizer)

    def forward(self, pack: Pack, only: np.ndarray | None = None) -> Hidden:
        """Runs a pack through the model.

        Args:
            pack: texts.
            only: [B] int64, the one token of each text whose state is wanted; the result is then of texts of one token.
        """
        states, device = self.model(pack.ids, pack.lengths, only), torch.device(self.runtime.device)
        if only is None:
            return Hidden(pack.rows, pack.lengths, to_device(pack.ids, device), states)
        return Hidden(pack.rows, np.ones_like(pack.lengths), to_device(pack.ids[only], device), states)


def from_folder(folder: Path, runtime: Runtime) -> Backbone:
    """A backbone from a checkpoint in Hugging Face's layout.

    Raises:
        UserError: config or tokeniser are missing, or there is only a slow tokeniser.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is not a checkpoint that transformers can read: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(f"{folder} has only a slow tokeniser ({type(tokenizer).__name__}): add its tokenizer.json.")
    special = {
        "cls": tokenizer.cls_token_id,
        "eos": tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "unk": tokenizer.unk_token_id,
    }
    if special["pad"] is None:
        raise UserError(f"{folder}: the tokeniser has no padding token, without which texts cannot share a batch.")

    def load(dtype: torch.dtype) -> torch.nn.Module:
        return strictly(
            lambda: transformers.AutoModel.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
            ),
            folder,
        )

    return Backbone(tokenizer.backend_tokenizer, load, config, special, runtime)


def strictly(load: Callable[[], tuple[torch.nn.Module, dict[str, Any]]], folder: Path) -> torch.nn.Module:
    """Loads a model and refuses weights that would otherwise be drawn at random.

    Raises:
        UserError: names the weights that the checkpoint lacks. The pooler of BERT-like models, which no
            representation reads, may be absent.
    """
    transformers.utils.logging.disable_progress_bar()  # m3eval draws its own
    transformers.utils.logging.set_verbosity_error()  # and says itself what a checkpoint lacks
    try:
        model, info = load()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"The weights in {folder} cannot be loaded: {error}") from error
    lacking = sorted(str(name) for name in info["missing_keys"] if not str(name).startswith("pooler."))
    lacking += sorted(str(entry) for entry in info["mismatched_keys"])
    if lacking:
        raise UserError(
            f"{folder} lacks {len(lacking)} weights of a {type(model).__name__}, for example {lacking[:3]}: "
            "the file is incomplete or of another architecture."
        )
    return model
