"""What an encoder is to the rest of m3eval: the Protocol `TextEncoder`, and what it is asked for.

`ours.Encoder` computes with m3eval's own engine. `outside.OutsideEncoder` asks a library or a
service.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.console import say
from m3eval.encoders.representations import Packed, Representations
from m3eval.errors import UserError
from m3eval.manifests import Representation

if TYPE_CHECKING:
    import torch

    from m3eval.encoders.engine.tokenization import Tokenization, Tokens
    from m3eval.encoders.windows import Windows

    # The number of a request, positions of some of its texts, their multi-vectors -> a tensor.
    Reduce = Callable[[int, np.ndarray, Packed], torch.Tensor]

Prefixes = dict[Role, str]


class Request(NamedTuple):
    """Texts to encode together."""

    texts: Sequence[str]  # without prefix
    role: Role  # decides what is put around the texts, and which heads read them
    max_length: int  # in tokens, prefix and special tokens included; longer texts are cut
    ids: Sequence[str] = ()  # of the texts, by which messages name them


@dataclass(frozen=True)
class Wanted:
    """What to make of texts, and how to give it back."""

    representations: Collection[Representation]
    dtype: type[np.floating] = np.float16  # of multi-vectors and term vectors; stores hold float16
    # That dense vectors are to be kept in: they come as float32, with no number beyond it. None:
    # as `dtype`.
    dense_dtype: type[np.floating] | None = None
    # Called after each pack: the number of the request, and the positions in it of the texts that
    # begin in the pack.
    on_pack: Callable[[int, np.ndarray], None] | None = None
    # Makes something smaller of the multi-vectors where they are computed. The results are in
    # `Representations.reduced`. Not for texts in windows, which need not share a pack.
    reduce: Reduce | None = None

    def most(self, name: str) -> float:
        """The largest number that a representation may have."""
        of_dense = self.dense_dtype or self.dtype
        return float(np.finfo(of_dense if name == "dense" else self.dtype).max)


class Price(NamedTuple):
    """What a service takes for tokens."""

    per_million: float  # US dollars
    source: str  # where and when that was read
    limit: float  # dollars that may be spent without asking
    confirmed: bool  # the setting encoder.confirm_cost

    def announce(self, tokens: float) -> None:
        """Says what so many tokens will cost, before the first is sent.

        Raises:
            UserError: they cost more than the limit, and the user has not agreed to that.
        """
        cost = tokens / 1e6 * self.per_million
        text = (
            f"about {tokens:,.0f} tokens at ${self.per_million:g} a million ({self.source}): "
            f"about ${cost:,.2f}"
        )
        say(f"cost       {text}")
        if cost > self.limit and not self.confirmed:
            raise UserError(
                f"Encoding costs {text}, above encoder.cost_limit={self.limit:g}: agree to it with "
                "encoder.confirm_cost=true. Nothing was sent."
            )


class TextEncoder(Protocol):
    """All that stages, retrievers and commands use of an encoder."""

    @property
    def name(self) -> str:
        """Names stores and results."""
        ...

    @property
    def label(self) -> str:
        """What tables call it."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides its output: settings, and hashes of the checkpoint's files."""
        ...

    @property
    def representations(self) -> Sequence[Representation]:
        """What it can compute."""
        ...

    @property
    def why_no_other(self) -> str:
        """Why it has no other representations, in a sentence; empty: there is no more to say."""
        ...

    @property
    def engine(self) -> str:
        """What computes, for people to read."""
        ...

    @property
    def attention(self) -> str | None:
        """Which self-attention ran, for people to read; None: none, or it is not ours to know."""
        ...

    @property
    def width(self) -> int:
        """How many numbers a dense vector has."""
        ...

    @property
    def prefixes(self) -> Prefixes:
        """What stands before queries and before documents."""
        ...

    @property
    def windows(self) -> Windows | None:
        """How documents are cut into several inputs; None: a document is one input."""
        ...

    @property
    def tokenization(self) -> Tokenization | None:
        """How documents become tokens; None: that is the affair of the library that encodes."""
        ...

    @property
    def latent(self) -> bool:
        """Whether the terms of the sparse representation are numbers without words."""
        ...

    @property
    def price(self) -> Price | None:
        """What it costs; None: nothing but time."""
        ...

    def token_limit(self, role: Role) -> int:
        """The longest input in tokens."""
        ...

    def bytes_per_text(self, name: Representation, role: Role, tokens: float) -> float:
        """About how many bytes a representation of a text of so many tokens takes in a store."""
        ...

    def framed(self, text: str, role: Role) -> str:
        """A text as the model reads it, with all that stands around it."""
        ...

    def tokenize(self, request: Request) -> Tokens:
        """Token ids of texts as the model reads them: of their windows where there are such."""
        ...

    def encode(self, request: Request, wanted: Wanted) -> Representations:
        """Encodes the texts of one request; arrays are in the order of the texts.

        Raises:
            NotFinite: a text got a number that is not finite, or beyond what it is to be kept in.
        """
        ...

    def stream(self, requests: Iterable[Request], wanted: Wanted) -> Iterator[Representations]:
        """Encodes one request after the other, without a pause between them.

        Requests are drawn as they are needed, a little ahead, possibly in another thread.
        """
        ...


def check_able(
    encoder: TextEncoder,
    wanted: Collection[Representation],
    max_length: int,
    role: Role = "document",
) -> None:
    """Refuses what an encoder cannot do, before anything is encoded.

    Args:
        encoder: the encoder.
        wanted: representations asked for.
        max_length: of the texts, in tokens; documents in windows may be longer than the limit.
        role: of the texts.

    Raises:
        UserError: it lacks a representation, or inputs are longer than it reads; says what to do.
    """
    if lacking := sorted(set(wanted) - set(encoder.representations)):
        raise UserError(
            f"encoder {encoder.name} has no {' or '.join(lacking)} representation: its checkpoint "
            f"has {', '.join(encoder.representations)}. Choose the representations and the "
            "retrievers among these."
            + (f" ({encoder.why_no_other})" if encoder.why_no_other else "")
        )
    limit = encoder.token_limit(role)
    if encoder.windows is not None and role == "document":
        if encoder.windows.size > limit:
            raise UserError(
                f"encoder.windows.size={encoder.windows.size}: encoder {encoder.name} reads at "
                f"most {limit:,} tokens."
            )
    elif max_length > limit:
        raise UserError(
            f"The benchmark asks for inputs of {max_length:,} tokens, encoder {encoder.name} reads "
            f"at most {limit:,}. To evaluate it on cut texts, say so: "
            f"benchmark.text.max_document_length={limit} (and max_query_length); tables state the "
            "length."
        )
