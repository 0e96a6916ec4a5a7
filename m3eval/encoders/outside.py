"""Encoders that are not ours: a library or a service turns texts into representations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import (
    Prefixes,
    Price,
    Request,
    TextEncoder,
    Wanted,
    check_length,
    check_representations,
)
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.representations import Packed, Ragged, Representation, Representations
from m3eval.errors import UserError

if TYPE_CHECKING:
    import scipy.sparse
    import torch


class Part(NamedTuple):
    """What was computed together: some texts of a request, with one field for what they got."""

    rows: np.ndarray  # [b] positions in the request
    dense: np.ndarray | None = None  # [b, d] float32
    sparse: scipy.sparse.csr_array | None = None  # [b, vocabulary] float32
    multi_vector: Sequence[np.ndarray] | None = None  # b arrays [tokens, d] float32


@dataclass
class OutsideEncoder:
    """A `TextEncoder` out of two functions, which put the prefixes before texts themselves.

    It gives one representation: so do the libraries and services there are. How it tokenises is its
    own affair, so it has no `tokenization`.
    """

    name: str
    label: str
    engine: str
    representation: Representation
    width: int
    limit: int  # tokens that it reads
    identity: dict[str, Any]
    tokenize: Callable[[Request], Tokens]
    compute: Callable[[Request, Tokens], Iterable[Part]]  # of texts and their tokens, in any order
    device: str = "cpu"  # where `Wanted.reduce` gets multi-vectors
    prefixes: Prefixes = field(default_factory=lambda: {"query": "", "document": ""})
    price: Price | None = None
    windows: None = None
    tokenization: None = None
    latent: bool = False

    @property
    def representations(self) -> list[Representation]:
        """See `TextEncoder`."""
        return [self.representation]

    def token_limit(self, role: Role) -> int:
        """See `TextEncoder`."""
        return self.limit

    def bytes_per_text(self, name: Representation, role: Role, tokens: float) -> float:
        """See `TextEncoder`."""
        sizes = {"dense": 2 * self.width, "sparse": 6 * tokens}
        return sizes.get(name, 2 * self.width * tokens)

    def check(
        self, wanted: Collection[Representation], max_length: int, role: Role = "document"
    ) -> None:
        """See `TextEncoder`."""
        check_representations(self.name, self.representations, wanted)
        check_length(self.name, max_length, self.limit)

    def framed(self, text: str, role: Role) -> str:
        """See `TextEncoder`."""
        return self.prefixes[role] + text

    def encode(self, request: Request, wanted: Wanted) -> Representations:
        """See `TextEncoder`."""
        return next(self.stream([request], wanted))

    def stream(self, requests: Iterable[Request], wanted: Wanted) -> Iterator[Representations]:
        """See `TextEncoder`."""
        for number, request in enumerate(requests):
            tokens = self.tokenize(request)
            result = Representations(
                tokens=int(tokens.lengths.sum()),
                truncated=tokens.truncated,
                reduced=None if wanted.reduce is None else [],
            )
            parts: list[Part] = []
            for part in self._parts(request, tokens, wanted):
                if wanted.reduce is not None:
                    arrays = [vectors.astype(wanted.dtype) for vectors in part.multi_vector]
                    vectors = Packed.of(arrays, self.device)
                    values = wanted.reduce(number, part.rows, vectors).cpu().numpy()
                    result.reduced.append((part.rows, values))
                elif getattr(part, self.representation) is not None:
                    parts.append(part)
                if wanted.on_pack is not None:
                    wanted.on_pack(number, part.rows)
            if parts:
                joined = _joined(parts, self.representation, wanted.dtype)
                setattr(result, self.representation, joined)
            yield result

    def _parts(self, request: Request, tokens: Tokens, wanted: Wanted) -> Iterable[Part]:
        """What is computed of a request.

        Nothing, where a store is to hold ids only, for multi-vectors that stage 1 computes.
        """
        if self.representation in wanted.representations:
            return self.compute(request, tokens)
        return [Part(np.arange(len(request.texts)))]


def _joined(
    parts: Sequence[Part], name: Representation, dtype: type[np.floating]
) -> np.ndarray | scipy.sparse.csr_array | Ragged:
    """One representation of all texts of a request, in their order."""
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    if name == "dense":
        return np.concatenate([part.dense for part in parts])[order]
    if name == "sparse":
        import scipy.sparse

        rows = scipy.sparse.vstack([part.sparse for part in parts], format="csr")[order]
        rows.sort_indices()
        return rows
    arrays = [array for part in parts for array in part.multi_vector]
    arrays = [arrays[i] for i in order]
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    return Ragged(np.concatenate(arrays).astype(dtype), offsets)


def out_of_memory(texts: int, error: torch.OutOfMemoryError) -> UserError:
    """What to say where a library filled the memory."""
    return UserError(
        f"Out of memory on {texts:,} texts together ({error}): choose a smaller "
        "runtime.token_budget=."
    )


if TYPE_CHECKING:

    def _is_a_text_encoder(encoder: OutsideEncoder) -> TextEncoder:
        return encoder
