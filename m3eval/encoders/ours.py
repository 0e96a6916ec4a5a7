"""The encoder that m3eval computes itself: a backbone and its heads.

One forward pass gives every representation that is asked for. Every family in this folder that does
not rest on a library builds an `Encoder`. Nothing of the checkpoint is read before it is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import (
    Prefixes,
    Request,
    TextEncoder,
    Wanted,
)
from m3eval.encoders.encoding import ListUnderWay, Reader
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.execution import execute
from m3eval.encoders.engine.packs import Pack, packs
from m3eval.encoders.engine.tokenization import Tokenization, Tokens
from m3eval.encoders.finite import Watch
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.heads.mcls import Mcls
from m3eval.encoders.representations import Representations
from m3eval.encoders.windows import Windows
from m3eval.manifests import Representation
from m3eval.threads import ahead


def nothing_around() -> Prefixes:
    """No prefix for either role."""
    return {"query": "", "document": ""}


def for_both(heads: Heads) -> dict[Role, Heads]:
    """The same heads for queries and documents."""
    return {"query": heads, "document": heads}


class Tokenised(NamedTuple):
    """A request whose texts became tokens; the texts themselves are no longer held."""

    role: Role
    tokens: Tokens
    ids: Sequence[str]  # may be none


@dataclass
class Encoder:
    """A `TextEncoder` out of a backbone and heads."""

    name: str
    label: str
    identity: dict[str, Any]  # all that decides the output
    representations: list[Representation]
    backbone: Backbone
    # Reads the heads' weights and makes the heads; called once, before the first text is encoded.
    make_heads: Callable[[], dict[Role, Heads]]
    query_backbone: Backbone | None = None  # where queries have a model of their own
    prefixes: Prefixes = field(default_factory=nothing_around)
    suffixes: Prefixes = field(default_factory=nothing_around)  # cut off first where a text is cut
    windows: Windows | None = None
    mcls: Mcls | None = None  # more CLS tokens than one
    latent: bool = False
    why_no_other: str = ""
    price: None = None

    @property
    def engine(self) -> str:
        """See `TextEncoder`."""
        return f"{self.backbone.engine} engine"

    @property
    def attention(self) -> str | None:
        """See `TextEncoder`. Where queries have a model of their own: that of both."""
        both = (self.backbone, self.query_backbone)
        ran = dict.fromkeys(each.attention for each in both if each and each.attention)
        return "; ".join(ran) or None

    @property
    def width(self) -> int:
        """See `TextEncoder`."""
        return self.backbone.shape.width

    @property
    def tokenization(self) -> Tokenization:
        """See `TextEncoder`."""
        return self.backbone.tokenization

    @cached_property
    def heads(self) -> dict[Role, Heads]:
        """The heads of each role.

        Raises:
            UserError: their weights cannot be read, or do not fit the backbone.
        """
        return self.make_heads()

    def backbone_of(self, role: Role) -> Backbone:
        """What reads queries, or documents."""
        return self.query_backbone if role == "query" and self.query_backbone else self.backbone

    def token_limit(self, role: Role) -> int:
        """See `TextEncoder`."""
        return self.backbone_of(role).shape.limit

    def bytes_per_text(self, name: Representation, role: Role, tokens: float) -> float:
        """See `TextEncoder`."""
        return self.heads[role][name].bytes_per_text(self.width, tokens)

    def framed(self, text: str, role: Role) -> str:
        """See `TextEncoder`."""
        return self.prefixes[role] + text + self.suffixes[role]

    def prefix_tokens(self, role: Role) -> int:
        """How many tokens the prefix of a role takes, between CLS and the text."""
        return self.backbone_of(role).tokenization.prefix_tokens(self.prefixes[role])

    def tokenize(self, request: Request) -> Tokens:
        """See `TextEncoder`."""
        tokenization = self.backbone_of(request.role).tokenization
        texts = [self.framed(text, request.role) for text in request.texts]
        tokens = tokenization(texts, request.max_length)
        if self.mcls:
            tokens = self.mcls.insert(tokens, request.max_length)
        if self.windows and request.role == "document":
            first, last = tokenization.edges
            tokens = self.windows.cut(tokens, first + self.prefix_tokens("document"), last)
        return tokens

    def encode(self, request: Request, wanted: Wanted) -> Representations:
        """See `TextEncoder`."""
        tokenised = self._tokenised(request)
        return next(self._run(iter([tokenised]), wanted, self._readers()))

    def stream(self, requests: Iterable[Request], wanted: Wanted) -> Iterator[Representations]:
        """See `TextEncoder`. A thread draws and tokenises the next request."""
        readers = self._readers()
        with ahead(self._tokenised(each) for each in requests) as tokenised:
            yield from self._run(tokenised, wanted, readers)

    def _tokenised(self, request: Request) -> Tokenised:
        return Tokenised(request.role, self.tokenize(request), request.ids)

    def _readers(self) -> dict[Role, Reader]:
        """What reads the texts of each role, made in full before another thread uses it."""
        self.backbone.runtime.set_up_torch()
        return {
            role: Reader(self.backbone_of(role), heads, self.prefix_tokens(role))
            for role, heads in self.heads.items()
        }

    def _run(
        self,
        tokenised: Iterator[Tokenised],
        wanted: Wanted,
        readers: dict[Role, Reader],
    ) -> Iterator[Representations]:
        """Computes the packs of one list after the other; gives a list when it is complete."""
        waiting: deque[ListUnderWay] = deque()
        runtime = self.backbone.runtime

        def work() -> Iterator[Pack]:
            for number, (role, tokens, ids) in enumerate(tokenised):
                reader = readers[role]
                _ = reader.backbone.model  # loaded here, not by several workers at once
                watch = Watch(role, ids, wanted.most, runtime.precision)
                texts = ListUnderWay(number, tokens, reader, wanted, watch)
                waiting.append(texts)
                yield from packs(tokens.ids, reader.backbone.runtime, owner=texts)

        with closing(execute(work(), lambda pack: pack.owner.compute(pack), runtime)) as computed:
            for pack, outputs in computed:
                pack.owner.add(pack, outputs)
                while waiting and waiting[0].complete:
                    yield waiting.popleft().result()
        while waiting:  # lists without texts have no packs
            yield waiting.popleft().result()


if TYPE_CHECKING:

    def _is_a_text_encoder(encoder: Encoder) -> TextEncoder:
        return encoder
