"""Tokeniser and transformer: texts -> token ids -> last hidden states, in batches of a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from m3eval.errors import UserError
from m3eval.runtime import Runtime

TOKENIZED_AT_ONCE = 1_000_000  # characters: the tokeniser's own objects take some 100 bytes for each


class Tokens(NamedTuple):
    """Token ids of n texts, cut at a limit."""

    ids: list[np.ndarray]  # n arrays of int32, special tokens included
    truncated: int  # how many texts were longer

    @property
    def lengths(self) -> np.ndarray:
        """[n] int64"""
        return np.fromiter(map(len, self.ids), np.int64, len(self.ids))


class Hidden(NamedTuple):
    """Last hidden states of a batch of B texts, right-padded to L tokens."""

    rows: np.ndarray  # [B] positions of the texts in the list that was encoded
    ids: torch.Tensor  # [B, L] int64
    lengths: torch.Tensor  # [B] int64
    states: torch.Tensor  # [B, L, h] float32, whatever the model computes in


@dataclass
class Backbone:
    """A tokeniser and a model that is loaded when first needed."""

    tokenizer: Tokenizer
    load: Callable[[torch.dtype], torch.nn.Module]
    config: transformers.PretrainedConfig
    special: dict[str, int]  # ids of cls, eos, pad, unk
    runtime: Runtime

    @cached_property
    def model(self) -> torch.nn.Module:
        """The transformer on its device, in the run's precision, in evaluation mode."""
        return self.load(self.runtime.dtype).to(self.runtime.device).eval()

    @property
    def limit(self) -> int:
        """The longest input in tokens. RoBERTa-like models count positions from the padding id + 1 on."""
        positions = self.config.max_position_embeddings
        roberta = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"}
        return positions - self.config.pad_token_id - 1 if self.config.model_type in roberta else positions

    def tokenize(self, texts: Sequence[str], max_length: int, special: bool = True) -> Tokens:
        """Token ids; a text over the limit keeps its beginning and its end token.

        Args:
            texts: n texts, prefixes included.
            max_length: tokens, special tokens included.
            special: False leaves the special tokens out of the result; a text is cut at the same place.
        """
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length - (0 if special else self.tokenizer.num_special_tokens_to_add(False)))
        ids, truncated = [], 0
        for start, end in _slices([len(text) for text in texts], TOKENIZED_AT_ONCE):
            for encoding in self.tokenizer.encode_batch_fast(list(texts[start:end]), add_special_tokens=special):
                ids.append(np.array(encoding.ids, np.int32))
                truncated += bool(encoding.overflowing)
        return Tokens(ids, truncated)

    @torch.inference_mode()
    def forward(self, tokens: Tokens) -> Iterator[Hidden]:
        """Runs all texts through the model, longest first, as many at once as the token budget allows."""
        for rows in batches(tokens.lengths, self.runtime.token_budget):
            lengths = torch.from_numpy(tokens.lengths[rows])
            ids = torch.full((len(rows), int(lengths.max())), self.special["pad"])
            for i, row in enumerate(rows):
                ids[i, : lengths[i]] = torch.from_numpy(tokens.ids[row])
            ids, lengths = ids.to(self.runtime.device), lengths.to(self.runtime.device)
            mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            yield Hidden(rows, ids, lengths, states.float())


def batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Cuts texts, sorted by length, into batches whose padded size stays within a budget of tokens.

    Args:
        lengths: [n] tokens of each text.
        budget: tokens of a batch, padding included; a single text may exceed it.

    Yields:
        positions of the texts of one batch, longest first; every position once.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def _slices(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Start and end of consecutive slices whose sizes sum to `limit` at most, or that hold one item."""
    start, total = 0, 0
    for i, size in enumerate(sizes):
        if i > start and total + size > limit:
            yield start, i
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


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
