"""Windows: texts longer than an encoder reads, cut into overlapping pieces that it does read.

Each piece is encoded by itself. A text then has a dense vector for each window, of which the best
one counts (`scores.best_window`). Its multi-vectors are those of all windows, so that MaxSim looks
through all of them. The weight of a token is the largest it has in any window, as it is the largest
it has at any place within one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.representations import Ragged, Representations
from m3eval.errors import UserError

if TYPE_CHECKING:
    import scipy.sparse


@dataclass(frozen=True)
class Windows:
    """How texts are cut."""

    size: int  # tokens of a window, its special tokens and prefix included
    stride: int  # tokens of the text from the beginning of a window to that of the next

    def cut(self, tokens: Tokens, first: int, last: int) -> Tokens:
        """The windows of texts, each with what begins and ends its text.

        A text that fits one window stays as it is. Otherwise every token stands in a window, and
        every window holds a token that the one before does not.

        Args:
            tokens: n texts.
            first: how many tokens at the beginning of a text each window repeats: special tokens
                and the prefix.
            last: how many at its end.

        Raises:
            UserError: windows would leave tokens out.
        """
        room = self.size - first - last
        if not 1 <= self.stride <= room:
            raise UserError(
                f"encoder.windows.stride={self.stride}: a window of {self.size} tokens has room "
                f"for {room} tokens of the text, and the stride must lie between 1 and that."
            )
        ids, offsets = [], [0]
        for text in tokens.ids:
            begin, end = text[:first], text[len(text) - last :]
            body = text[first : len(text) - last]
            count = 1 + max(0, math.ceil((len(body) - room) / self.stride))
            for start in range(0, count * self.stride, self.stride):
                ids.append(np.concatenate([begin, body[start : start + room], end]))
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
            f"encoder.windows={dict(settings)}: give size and stride in tokens, as in "
            "{size: 512, stride: 256}."
        )
    return Windows(**settings)


def by_text(of_windows: Representations, offsets: np.ndarray) -> Representations:
    """The representations of texts from those of their windows.

    Args:
        of_windows: representations of all windows, one text's after the other's.
        offsets: [n + 1] int64, text i has the windows offsets[i]:offsets[i + 1].
    """
    sparse, multi = of_windows.sparse, of_windows.multi_vector
    return replace(
        of_windows,
        windows=offsets,
        sparse=None if sparse is None else _largest(sparse, offsets),
        multi_vector=None if multi is None else Ragged(multi.vectors, multi.offsets[offsets]),
    )


def _largest(rows: scipy.sparse.csr_array, offsets: np.ndarray) -> scipy.sparse.csr_array:
    """[n, vocabulary]: for each text and token id the largest weight in the rows of its windows."""
    import scipy.sparse

    n, vocabulary = len(offsets) - 1, int(rows.shape[-1])
    text_of_row = np.repeat(np.arange(n), np.diff(offsets))
    texts = np.repeat(text_of_row, np.diff(rows.indptr))  # [weights]
    order = np.lexsort((rows.data, rows.indices, texts))
    texts, tokens, weights = texts[order], rows.indices[order], rows.data[order]
    # Of equal texts and tokens the last is the heaviest.
    last = np.ones(len(order), bool)
    last[:-1] = (texts[1:] != texts[:-1]) | (tokens[1:] != tokens[:-1])
    counts = np.bincount(texts[last], minlength=n)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    tokens = tokens[last].astype(np.int32)
    return scipy.sparse.csr_array((weights[last], tokens, ends), shape=(n, vocabulary))
