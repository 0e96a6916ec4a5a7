"""Encoders that are not ours: a library or a service turns texts into representations. And what every encoder is to a stage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse
import torch

from m3eval.benchmarks.texts import Role
from m3eval.console import say
from m3eval.encoders.backbone import Backbone
from m3eval.encoders.encoder import Reduce, Request, refuse
from m3eval.encoders.representations import Packed, Ragged, Representation, Representations
from m3eval.encoders.tokenization import Tokens
from m3eval.encoders.windows import Windows
from m3eval.errors import UserError


class Price(NamedTuple):
    """What a service takes for tokens."""

    per_million: float  # US dollars
    source: str  # where and when that was read
    limit: float  # dollars that may be spent without asking
    confirmed: bool  # encoder.confirm_cost

    def announce(self, tokens: float) -> None:
        """Says what so many tokens will cost, before the first is sent.

        Raises:
            UserError: that is beyond the limit, and nobody has agreed to it.
        """
        cost = tokens / 1e6 * self.per_million
        text = f"about {tokens:,.0f} tokens at ${self.per_million:g} a million ({self.source}): about ${cost:,.2f}"
        say(f"cost       {text}")
        if cost > self.limit and not self.confirmed:
            raise UserError(
                f"Encoding costs {text}, above encoder.cost_limit={self.limit:g}: agree to it with "
                "encoder.confirm_cost=true. Nothing was sent."
            )


class TextEncoder(Protocol):
    """What the stages need of an encoder: `encoder.Encoder` has it, and `OutsideEncoder`."""

    name: str  # names stores and results
    label: str  # what tables call it
    identity: dict[str, Any]  # all that decides its output
    backbone: Backbone | None  # None: it is not ours
    windows: Windows | None  # documents longer than one are cut into several
    price: Price | None  # None: it costs nothing but time

    @property
    def representations(self) -> list[Representation]:
        """What it has."""

    @property
    def engine(self) -> str:
        """What computes."""

    @property
    def width(self) -> int:
        """Numbers of a vector, to foresee the size of a store."""

    def check(
        self, wanted: Collection[Representation], max_length: int, role: Role = "document"
    ) -> None:
        """Raises UserError for what it cannot do."""

    def framed(self, text: str, role: Role) -> str:
        """A text as the model reads it."""

    def tokenize(self, request: Request) -> Tokens:
        """Token ids of a list of texts, prefixes included."""

    def encode(
        self,
        texts: Sequence[str],
        role: Role,
        wanted: Collection[Representation],
        max_length: int,
        dtype: type[np.floating] = np.float16,
    ) -> Representations:
        """Encodes n texts: see `Encoder.stream`."""

    def stream(
        self,
        requests: Iterable[Request],
        wanted: Collection[Representation],
        on_pack: Callable[[int, np.ndarray], None] = lambda request, rows: None,
        dtype: type[np.floating] = np.float16,
        reduce: Reduce | None = None,
    ) -> Iterator[Representations]:
        """Encodes lists of texts, one after the other: see `Encoder.stream`."""


class Part(NamedTuple):
    """What was computed together: some of a list's texts, with one field for each representation they got."""

    rows: np.ndarray  # [b] positions in the list
    dense: np.ndarray | None = None  # [b, d] float32
    sparse: scipy.sparse.csr_array | None = None  # [b, vocabulary] float32
    multi_vector: list[np.ndarray] | None = None  # b arrays [tokens, d] float32


@dataclass
class OutsideEncoder:
    """A `TextEncoder` out of two functions, which put the prefixes before texts themselves.

    It gives one representation: so do the libraries and services there are.
    """

    name: str
    label: str
    engine: str
    representation: Representation
    width: int
    limit: int  # tokens it reads
    identity: dict[str, Any]
    tokenize: Callable[[Request], Tokens]
    compute: Callable[[Request, Tokens], Iterator[Part]]  # of texts and their tokens, in any order
    device: str = "cpu"  # where `reduce` gets multi-vectors
    prefixes: dict[Role, str] = field(default_factory=lambda: {"query": "", "document": ""})
    price: Price | None = None
    backbone: None = None
    windows: None = None

    @property
    def representations(self) -> list[Representation]:
        """See `TextEncoder`."""
        return [self.representation]

    def check(
        self, wanted: Collection[Representation], max_length: int, role: Role = "document"
    ) -> None:
        """See `TextEncoder`."""
        refuse(self.name, self.representations, self.limit, wanted, max_length)

    def framed(self, text: str, role: Role) -> str:
        """See `TextEncoder`."""
        return self.prefixes[role] + text

    def encode(
        self,
        texts: Sequence[str],
        role: Role,
        wanted: Collection[Representation],
        max_length: int,
        dtype: type[np.floating] = np.float16,
    ) -> Representations:
        """See `TextEncoder`."""
        return next(self.stream([Request(texts, role, max_length)], wanted, dtype=dtype))

    def stream(
        self,
        requests: Iterable[Request],
        wanted: Collection[Representation],
        on_pack: Callable[[int, np.ndarray], None] = lambda request, rows: None,
        dtype: type[np.floating] = np.float16,
        reduce: Reduce | None = None,
    ) -> Iterator[Representations]:
        """See `TextEncoder`."""
        for number, request in enumerate(requests):
            tokens = self.tokenize(request)
            counts = {"tokens": int(tokens.lengths.sum()), "truncated": tokens.truncated}
            if (
                self.representation not in wanted
            ):  # a store of ids, for multi-vectors that stage 1 computes
                on_pack(number, np.arange(len(request.texts)))
                yield Representations(**counts)
                continue
            parts, reduced = [], []
            for part in self.compute(request, tokens):
                if reduce is None:
                    parts.append(part)
                else:
                    vectors = Packed.of(
                        [array.astype(dtype) for array in part.multi_vector], self.device
                    )
                    reduced.append((part.rows, reduce(number, part.rows, vectors).cpu().numpy()))
                on_pack(number, part.rows)
            found = (
                _joined(parts, self.representation, dtype)
                if reduce is None
                else {"multi_vector": reduced}
            )
            yield Representations(**found, **counts)


def _joined(
    parts: Sequence[Part], name: Representation, dtype: type[np.floating]
) -> dict[Representation, Any]:
    """One representation of all texts of a list, in their order."""
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    if name == "dense":
        return {name: np.concatenate([part.dense for part in parts])[order]}
    if name == "sparse":
        rows = scipy.sparse.vstack([part.sparse for part in parts], format="csr")[order]
        rows.sort_indices()
        return {name: rows}
    arrays = [array for part in parts for array in part.multi_vector]
    arrays = [arrays[i] for i in order]
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    return {name: Ragged(np.concatenate(arrays).astype(dtype), offsets)}


def out_of_memory(texts: int, error: torch.OutOfMemoryError) -> UserError:
    """What to say where a library filled the memory."""
    return UserError(
        f"Out of memory on {texts:,} texts together ({error}): choose a smaller runtime.token_budget=."
    )
