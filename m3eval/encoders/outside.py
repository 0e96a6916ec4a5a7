"""Encoders that are not ours: a library or a service turns texts into representations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import (
    Prefixes,
    Price,
    Request,
    TextEncoder,
    Wanted,
)
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.finite import Watch
from m3eval.encoders.representations import Packed, Ragged, Representations
from m3eval.errors import UserError
from m3eval.manifests import Representation

if TYPE_CHECKING:
    import scipy.sparse
    import torch


class Part(NamedTuple):
    """What was computed together: some texts of a request, with one field for what they got."""

    rows: np.ndarray  # [b] positions in the request
    dense: np.ndarray | None = None  # [b, d] float32
    sparse: scipy.sparse.csr_array | None = None  # [b, vocabulary] float32
    multi_vector: Sequence[np.ndarray] | None = None  # b arrays [tokens, d] float32

    def require_finite(self, watch: Watch) -> None:
        """Raises NotFinite where a text got a number that is not finite, or too large."""
        if self.dense is not None:
            watch.look("dense", self.dense, lambda row: int(self.rows[row]))
        if (matrix := self.sparse) is not None:
            watch.look(
                "sparse",
                matrix.data,
                lambda place: int(self.rows[np.searchsorted(matrix.indptr, place, "right") - 1]),
            )
        if self.multi_vector is not None:
            for row, vectors in zip(self.rows.tolist(), self.multi_vector, strict=True):
                watch.look("multi_vector", vectors, lambda _, row=row: row)


class Backend(Protocol):
    """A library or a service, which puts the prefixes before texts itself."""

    def tokenize(self, request: Request) -> Tokens:
        """Token ids of the texts, for their numbers and for what is cut."""
        ...

    def compute(self, request: Request, tokens: Tokens) -> Iterable[Part]:
        """The representation of the texts, in parts of any order."""
        ...


@dataclass
class OutsideEncoder:
    """A `TextEncoder` out of a library.

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
    backend: Backend
    device: str = "cpu"  # where `Wanted.reduce` gets multi-vectors
    prefixes: Prefixes = field(default_factory=lambda: {"query": "", "document": ""})
    price: Price | None = None
    windows: None = None
    tokenization: None = None
    latent: bool = False
    attention: None = None
    why_no_other: str = ""

    @property
    def source(self) -> str:
        """What to blame for a number that is not finite: our precision, or else who computes."""
        return self.identity.get("precision", self.engine)

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

    def framed(self, text: str, role: Role) -> str:
        """See `TextEncoder`."""
        return self.prefixes[role] + text

    def tokenize(self, request: Request) -> Tokens:
        """See `TextEncoder`."""
        return self.backend.tokenize(request)

    def encode(self, request: Request, wanted: Wanted) -> Representations:
        """See `TextEncoder`."""
        return next(self.stream([request], wanted))

    def stream(self, requests: Iterable[Request], wanted: Wanted) -> Iterator[Representations]:
        """See `TextEncoder`."""
        reduce = wanted.reduce
        for number, request in enumerate(requests):
            tokens = self.tokenize(request)
            watch = Watch(request.role, request.ids, wanted.most, self.source)
            parts: list[Part] = []
            reduced: list[tuple[np.ndarray, np.ndarray]] = []
            for part in self._parts(request, tokens, wanted):
                part.require_finite(watch)
                if reduce is not None and part.multi_vector is not None:
                    arrays = [vectors.astype(wanted.dtype) for vectors in part.multi_vector]
                    vectors = Packed.of(arrays, self.device)
                    values = reduce(number, part.rows, vectors).cpu().numpy()
                    reduced.append((part.rows, values))
                else:
                    parts.append(part)
                if wanted.on_pack is not None:
                    wanted.on_pack(number, part.rows)
            yield Representations(
                dense=joined_dense(parts),
                sparse=joined_sparse(parts),
                multi_vector=joined_multi_vector(parts, wanted.dtype),
                reduced=None if reduce is None else reduced,
                tokens=int(tokens.lengths.sum()),
                truncated=tokens.truncated,
            )

    def _parts(self, request: Request, tokens: Tokens, wanted: Wanted) -> Iterable[Part]:
        """What is computed of a request.

        Nothing, where a store is to hold ids only, for multi-vectors that stage 1 computes.
        """
        if self.representation in wanted.representations:
            return self.backend.compute(request, tokens)
        return [Part(np.arange(len(request.texts)))]


def joined_dense(parts: Sequence[Part]) -> np.ndarray | None:
    """[n, d]: dense vectors of all texts of a request, in their order; None: there are none."""
    arrays = [part.dense for part in parts if part.dense is not None]
    return np.concatenate(arrays)[_order(parts)] if arrays else None


def joined_sparse(parts: Sequence[Part]) -> scipy.sparse.csr_array | None:
    """[n, vocabulary]: weights of all texts, likewise."""
    import scipy.sparse

    arrays = [part.sparse for part in parts if part.sparse is not None]
    if not arrays:
        return None
    rows = scipy.sparse.csr_array(scipy.sparse.vstack(arrays, format="csr"))[_order(parts)]
    rows.sort_indices()
    return rows


def joined_multi_vector(parts: Sequence[Part], dtype: type[np.floating]) -> Ragged | None:
    """Multi-vectors of all texts, likewise."""
    arrays = [array for part in parts for array in part.multi_vector or ()]
    if not arrays:
        return None
    arrays = [arrays[i] for i in _order(parts)]
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    return Ragged(np.concatenate(arrays).astype(dtype), offsets)


def _order(parts: Sequence[Part]) -> np.ndarray:
    """[n] int64: where in the parts the texts of a request are, in their order."""
    return np.argsort(np.concatenate([part.rows for part in parts]))


def out_of_memory(texts: int, error: torch.OutOfMemoryError) -> UserError:
    """What to say where a library filled the memory."""
    return UserError(
        f"Out of memory on {texts:,} texts together ({error}): choose a smaller "
        "runtime.token_budget=."
    )


if TYPE_CHECKING:

    def _is_a_text_encoder(encoder: OutsideEncoder) -> TextEncoder:
        return encoder
