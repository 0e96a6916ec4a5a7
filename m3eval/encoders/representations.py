"""The representations of texts as arrays, and vectors of many texts as a device works on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m3eval.encoders.transfer import to_device
from m3eval.lazy import torch

if TYPE_CHECKING:
    import scipy.sparse


class Ragged(NamedTuple):
    """Vectors of n texts: those of text i are ``vectors[offsets[i]:offsets[i + 1]]``."""

    vectors: np.ndarray  # [sum of counts, d]
    offsets: np.ndarray  # [n + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, i: int
    ) -> np.ndarray:
        return self.vectors[self.offsets[i] : self.offsets[i + 1]]


class TermVectors(NamedTuple):
    """Terms of n texts, each with a vector: those of text i are ``offsets[i]:offsets[i + 1]``."""

    terms: np.ndarray  # [sum of counts] int32, ascending within a text
    vectors: np.ndarray  # [sum of counts, d]
    offsets: np.ndarray  # [n + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def texts(self) -> np.ndarray:
        """[sum of counts] int64: the text that each term belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


class Packed(NamedTuple):
    """Vectors of n texts on a device, one text after the other."""

    vectors: torch.Tensor  # [sum of lengths, d]
    lengths: np.ndarray  # [n] int64

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], device: str | torch.device = "cpu") -> Packed:
        """Packs n >= 1 arrays of shape [length, d]."""
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return cls(to_device(np.concatenate(arrays), torch.device(device)), lengths)

    def each(self) -> Sequence[torch.Tensor]:
        """[length, d] of each text."""
        return self.vectors.split(self.lengths.tolist())

    def padded(self, which: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The vectors of m texts as a batch.

        Args:
            which: [m] int64, numbers of texts.

        Returns:
            [m, longest, d] float32, and [m, longest] bool: where a text has a vector.
        """
        starts, lengths = np.cumsum(self.lengths) - self.lengths, self.lengths[which]
        steps = np.arange(int(lengths.max()))
        places = np.minimum(starts[which][:, None] + steps, len(self.vectors) - 1)
        device = self.vectors.device
        real = to_device(steps < lengths[:, None], device)
        return self.vectors[to_device(places, device)].float(), real


class Separate(NamedTuple):
    """Vectors of n texts on the host, each where it lies, as in files that are memory-mapped."""

    arrays: Sequence[np.ndarray]  # [length, d] of each text, not read-only: torch takes no others

    @property
    def lengths(self) -> np.ndarray:
        """[n] int64."""
        return np.fromiter(map(len, self.arrays), np.int64, len(self.arrays))

    def each(self) -> Sequence[torch.Tensor]:
        """[length, d] of each text."""
        return [*map(torch.from_numpy, self.arrays)]


@dataclass
class Representations:
    """What an encoder gave for n texts; None where a representation was not asked for."""

    dense: np.ndarray | None = None  # [n, d] float32, or of all windows: see `windows`
    # [n, vocabulary] float32; token ids are int32 and sorted within a row.
    sparse: scipy.sparse.csr_array | None = None
    multi_vector: Ragged | None = None  # float16 or float32, as `Wanted.dtype` says
    term_vectors: TermVectors | None = None  # likewise
    # What `Wanted.reduce` made of the multi-vectors: positions of texts and its result, per pack.
    reduced: list[tuple[np.ndarray, np.ndarray]] | None = None
    # [n + 1] int64: text i has the dense rows windows[i]:windows[i + 1]; None: row i.
    windows: np.ndarray | None = None
    tokens: int = 0  # that the model read, special tokens included
    truncated: int = 0  # texts that were longer than the limit


def ragged_range(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[sum of counts] int64: for each i, counts[i] numbers from starts[i] on."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
