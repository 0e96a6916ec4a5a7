"""The representations of a list of texts, as arrays; and vectors of many texts as a device works on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse
import torch

Representation = Literal["dense", "sparse", "multi_vector", "term_vectors"]
REPRESENTATIONS: tuple[Representation, ...] = ("dense", "sparse", "multi_vector", "term_vectors")


class Ragged(NamedTuple):
    """Vectors of texts of different lengths: those of text i are ``vectors[offsets[i]:offsets[i + 1]]``."""

    vectors: np.ndarray  # [sum of tokens, d]
    offsets: np.ndarray  # [n + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.vectors[self.offsets[i] : self.offsets[i + 1]]


class TermVectors(NamedTuple):
    """Terms of texts, each with a vector of its own: those of text i are ``offsets[i]:offsets[i + 1]``."""

    terms: np.ndarray  # [sum of counts] int32, ascending within a text
    vectors: np.ndarray  # [sum of counts, d]
    offsets: np.ndarray  # [n + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def texts(self) -> np.ndarray:
        """[sum of counts] int64: whose term it is."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


class Packed(NamedTuple):
    """Vectors of texts, one text after the other."""

    vectors: torch.Tensor  # [sum of lengths, d]
    lengths: np.ndarray  # [n] int64

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], device: str | torch.device = "cpu") -> Packed:
        """From n >= 1 arrays [tokens, d]."""
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return cls(torch.from_numpy(np.concatenate(arrays)).to(device), lengths)

    def padded(self, which: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """[m, longest, d] float32 and [m, longest] bool: the texts numbered `which`, and where they have vectors."""
        starts, lengths = np.cumsum(self.lengths) - self.lengths, self.lengths[which]
        steps = np.arange(int(lengths.max()))
        places = np.minimum(starts[which][:, None] + steps, len(self.vectors) - 1)
        real = torch.from_numpy(steps < lengths[:, None]).to(self.vectors.device)
        return self.vectors[torch.from_numpy(places).to(self.vectors.device)].float(), real


@dataclass
class Representations:
    """What one forward pass gave for n texts; None where a representation was not asked for."""

    dense: np.ndarray | None = None  # [n, d] float32; of all windows where there are `windows`
    sparse: scipy.sparse.csr_array | None = (
        None  # [n, vocabulary] float32, int32 token ids, sorted within a row
    )
    multi_vector: Ragged | None = (
        None  # [sum of tokens, d] float16, as stores hold them, unless asked for otherwise
    )
    tokens: int = 0  # read by the model, special tokens included
    truncated: int = 0  # texts that were longer than the limit
    term_vectors: TermVectors | None = None  # vectors in float16 as well
    windows: np.ndarray | None = (
        None  # [n + 1] int64: dense rows of text i are windows[i]:windows[i + 1]; None: row i
    )
