"""Texts -> token ids, cut at a limit.

What lies far behind the limit is never tokenised where that cannot change the result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Characters: the tokeniser's own objects take some 100 bytes for each.
TOKENIZED_AT_ONCE = 1_000_000
CHARACTERS_PER_TOKEN = 12  # of a text's beginning that is tried first; languages have 2 to 5
WORDS_APART = re.compile(r"(?<=[^\W_]) (?=[^\W_])")  # a space between two letters or digits
SPLITS_AT_SPACES = {"Metaspace", "WhitespaceSplit", "Whitespace", "BertPreTokenizer"}


class Tokens(NamedTuple):
    """Token ids of n texts, cut at a limit; or of their windows."""

    ids: list[np.ndarray]  # n arrays of int32, special tokens included
    truncated: int  # how many texts were longer
    # [n + 1] int64: text i has the windows offsets[i]:offsets[i + 1]; None: each text is whole.
    offsets: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """[n] int64: tokens of each."""
        return np.fromiter(map(len, self.ids), np.int64, len(self.ids))

    def text_of(self, row: int) -> int:
        """The text that a row of `ids` is of."""
        return row if self.offsets is None else int(np.searchsorted(self.offsets, row, "right")) - 1

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """The texts that begin in some of the rows of `ids`."""
        if self.offsets is None:
            return rows
        texts = np.searchsorted(self.offsets, rows)
        return texts[self.offsets[texts] == rows]


class Tokenization:
    """A tokeniser, made when it is first needed, and what is known of it."""

    def __init__(self, make: Callable[[], Tokenizer]) -> None:
        self._make = make

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokeniser itself."""
        return self._make()

    def __call__(self, texts: Sequence[str], max_length: int, special: bool = True) -> Tokens:
        """Token ids; a text over the limit keeps its beginning and its end token.

        Args:
            texts: n texts, prefixes included.
            max_length: tokens, special tokens included.
            special: False leaves special tokens out of the result; texts are cut at the same place.
        """
        unseen = 0 if special else self.tokenizer.num_special_tokens_to_add(False)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length - unseen)
        beginnings = [self._beginning(text, max_length) for text in texts]
        ids, cut = self._encode(beginnings, special)
        # A beginning that did not fill the limit says nothing of the rest: such texts, and they are
        # few, are read whole.
        short = [i for i, text in enumerate(texts) if len(beginnings[i]) < len(text) and not cut[i]]
        whole = self._encode([texts[i] for i in short], special)
        for i, ids_of_text, is_cut in zip(short, *whole, strict=True):
            ids[i], cut[i] = ids_of_text, is_cut
        return Tokens(ids, sum(cut))

    def prefix_tokens(self, prefix: str) -> int:
        """How many tokens a prefix takes, between what begins a text and the text."""
        prefix = prefix.rstrip()
        return len(self.tokenizer.encode(prefix, add_special_tokens=False).ids) if prefix else 0

    @cached_property
    def edges(self) -> tuple[int, int]:
        """How many special tokens stand before a text, and how many behind it."""
        is_special = self.tokenizer.encode("a", add_special_tokens=True).special_tokens_mask
        return is_special.index(0), is_special[::-1].index(0)

    def _encode(self, texts: Sequence[str], special: bool) -> tuple[list[np.ndarray], list[bool]]:
        """Ids of each text, and whether it was cut."""
        ids, cut = [], []
        for start, end in slices([len(text) for text in texts], TOKENIZED_AT_ONCE):
            batch = list(texts[start:end])
            for encoding in self.tokenizer.encode_batch_fast(batch, add_special_tokens=special):
                ids.append(np.array(encoding.ids, np.int32))
                cut.append(bool(encoding.overflowing))
        return ids, cut

    def _beginning(self, text: str, max_length: int) -> str:
        """The text up to a space between two words, well behind the limit; or all of it.

        Where the tokeniser treats words between spaces apart, the tokens of such a beginning are
        the first tokens of the text. Letters and digits on both sides of the space keep
        normalisation and added tokens from reaching across it.
        """
        enough = CHARACTERS_PER_TOKEN * max_length
        if len(text) <= enough or not self._words_are_apart:
            return text
        space = WORDS_APART.search(text, enough)
        return text[: space.start()] if space else text

    @cached_property
    def _words_are_apart(self) -> bool:
        """Whether the tokens of a word never depend on what stands beyond a space."""
        if self.tokenizer.pre_tokenizer is None:
            return False
        state = json.loads(self.tokenizer.pre_tokenizer.__getstate__())
        steps = state["pretokenizers"] if state["type"] == "Sequence" else [state]
        splits = any(step["type"] in SPLITS_AT_SPACES and step.get("split", True) for step in steps)
        added = self.tokenizer.get_added_tokens_decoder().values()
        return splits and not any(" " in token.content for token in added)


def slices(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Start and end of consecutive slices whose sizes sum to `limit` at most, or of one item."""
    start, total = 0, 0
    for i, size in enumerate(sizes):
        if i > start and total + size > limit:
            yield start, i
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
