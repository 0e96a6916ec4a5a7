"""Windows: texts longer than an encoder reads, cut into overlapping pieces that it does read, each encoded by itself.

A text then has a dense vector for each window, of which the best one counts (`scores.best_window`); its multi-vectors are those
of all windows, so that MaxSim looks through all of them; and the weight of a token is the largest it has in any window, as it
is the largest it has at any place within one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from m3eval.encoders.representations import Ragged, Representations
from m3eval.encoders.tokenization import Tokens
from m3eval.errors import UserError


@dataclass(frozen=True)
class Windows:
    """How texts are cut."""

    size: int  # tokens of a window, its special tokens and prefix included
    stride: int  # tokens of the text from the beginning of a window to that of the next

    def cut(self, tokens: Tokens, first: int, last: int) -> Tokens:
        """The windows of texts, with what begins and ends a text around each.

        A text that fits one window stays as it is; else every token stands in a window, and none in one that holds nothing new.

        Args:
            tokens: n texts.
            first: how many tokens at the beginning of a text each window repeats: special tokens and the prefix.
            last: and at its end.

        Raises:
            UserError: windows would leave tokens out.
        """
        room = self.size - first - last
        if not 1 <= self.stride <= room:
            raise UserError(
                f"encoder.windows.stride={self.stride}: a window of {self.size} tokens has room for {room} tokens of the text, "
                "and the stride must lie between 1 and that."
            )
        ids, offsets = [], [0]
        for text in tokens.ids:
            end = len(text) - last
            count = 1 + max(0, math.ceil((end - first - room) / self.stride))
            for start in range(first, first + count * self.stride, self.stride):
                ids.append(
                    np.concatenate([text[:first], text[start : min(start + room, end)], text[end:]])
                )
            offsets.append(len(ids))
        return Tokens(ids, tokens.truncated, np.array(offsets, np.int64))


def from_settings(settings: Mapping[str, int] | None) -> Windows | None:
    """What `encoder.windows` says: null, or size and stride.

    Raises:
        UserError: it says something else.
    """
    if settings is None:
        return None
    if set(settings) != {"size", "stride"} or not all(
        isinstance(value, int) for value in settings.values()
    ):
        raise UserError(
            f"encoder.windows={dict(settings)}: give size and stride in tokens, as in {{size: 512, stride: 256}}."
        )
    return Windows(**settings)


def merged(found: Representations, offsets: np.ndarray) -> Representations:
    """What was found for windows, by text.

    Args:
        found: of all windows.
        offsets: [n + 1] int64, text i has the windows offsets[i]:offsets[i + 1].
    """
    multi = found.multi_vector
    return replace(
        found,
        windows=offsets,
        sparse=None if found.sparse is None else _largest(found.sparse, offsets),
        multi_vector=None if multi is None else Ragged(multi.vectors, multi.offsets[offsets]),
    )


def _largest(rows: scipy.sparse.csr_array, offsets: np.ndarray) -> scipy.sparse.csr_array:
    """[n, vocabulary]: for each text and token id the largest weight in the rows of its windows."""
    n, vocabulary = len(offsets) - 1, rows.shape[1]
    texts = np.repeat(np.repeat(np.arange(n), np.diff(offsets)), np.diff(rows.indptr))
    keys = texts * vocabulary + rows.indices
    order = np.lexsort((rows.data, keys))
    last = np.append(keys[order][1:] != keys[order][:-1], True)[: len(keys)]
    keys, weights = keys[order][last], rows.data[order][last]
    counts = np.bincount(keys // vocabulary, minlength=n)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return scipy.sparse.csr_array(
        (weights, (keys % vocabulary).astype(np.int32), ends), shape=(n, vocabulary)
    )
