"""An encoder: a backbone and its heads; one forward pass gives every representation that is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from m3eval.benchmarks.texts import Role
from m3eval.encoders.backbone import Backbone
from m3eval.encoders.collectors import Collector, InPacks
from m3eval.encoders.execution import Outputs, Pack, execute, packs
from m3eval.encoders.heads import Head
from m3eval.encoders.mcls import Mcls
from m3eval.encoders.representations import Packed, Representation, Representations
from m3eval.encoders.tokenization import Tokens
from m3eval.encoders.windows import Windows, merged
from m3eval.errors import UserError
from m3eval.threads import ahead

TORCH = {np.float16: torch.float16, np.float32: torch.float32}
# What becomes of a pack's multi-vectors: the number of its list, the rows of its texts in it, their vectors -> a tensor.
Reduce = Callable[[int, np.ndarray, Packed], torch.Tensor]


class Request(NamedTuple):
    """Texts to encode together."""

    texts: Sequence[str]  # without prefix
    role: Role  # decides the prefix; nothing else differs between queries and documents
    max_length: int  # tokens, prefix and special tokens included; longer texts are cut and counted


@dataclass
class Encoder:
    """What every file in this folder builds."""

    name: str  # names stores and results
    label: str  # what tables call it
    backbone: Backbone
    heads: dict[Representation, Head]
    identity: dict[
        str, Any
    ]  # all that decides its output: settings, and file hashes of the checkpoint
    prefixes: dict[Role, str] = field(default_factory=lambda: {"query": "", "document": ""})
    suffixes: dict[Role, str] = field(
        default_factory=lambda: {"query": "", "document": ""}
    )  # cut off first where a text is cut
    query_heads: dict[Representation, Head] = field(
        default_factory=dict
    )  # where queries have another than documents
    latent: bool = False  # terms of the sparse representation are numbers, not tokens
    why_no_other: str = ""  # representation than those of `heads`, in a sentence, where there is more to say than that
    query_backbone: Backbone | None = None  # where queries have a model of their own
    windows: Windows | None = None  # documents longer than one are cut into several
    mcls: Mcls | None = None  # more CLS tokens than one
    price: None = None  # it costs nothing but time

    @property
    def engine(self) -> str:
        """Which forward pass computes."""
        return f"{self.backbone.engine} engine"

    @property
    def width(self) -> int:
        """Numbers of a vector, to foresee the size of a store."""
        return self.backbone.config.hidden_size

    @property
    def representations(self) -> list[Representation]:
        """What this checkpoint has."""
        return list(self.heads)

    def of(self, role: Role) -> Backbone:
        """What reads queries, or documents."""
        return self.query_backbone if role == "query" and self.query_backbone else self.backbone

    def check(
        self, wanted: Collection[Representation], max_length: int, role: Role = "document"
    ) -> None:
        """Refuses what this encoder cannot do, before anything is loaded.

        Raises:
            UserError: a representation the checkpoint has not, or inputs longer than it reads and not cut into windows.
        """
        windowed = self.windows is not None and role == "document"
        limit = self.of(role).limit
        refuse(
            self.name,
            self.representations,
            limit,
            wanted,
            0 if windowed else max_length,
            self.why_no_other,
        )
        if windowed and self.windows.size > limit:
            raise UserError(
                f"encoder.windows.size={self.windows.size}: encoder {self.name} reads at most {limit:,} tokens."
            )

    def prefix_tokens(self, role: Role) -> int:
        """How many tokens the prefix of a role takes, between CLS and the text."""
        prefix = self.prefixes[role].rstrip()
        return (
            len(self.of(role).tokenizer.encode(prefix, add_special_tokens=False).ids)
            if prefix
            else 0
        )

    def heads_of(self, role: Role) -> dict[Representation, Head]:
        """The heads of queries or of documents."""
        return self.heads | (self.query_heads if role == "query" else {})

    def framed(self, text: str, role: Role) -> str:
        """A text as the model reads it."""
        return self.prefixes[role] + text + self.suffixes[role]

    def encode(
        self,
        texts: Sequence[str],
        role: Role,
        wanted: Collection[Representation],
        max_length: int,
        dtype: type[np.floating] = np.float16,
    ) -> Representations:
        """Encodes n texts: see `stream`."""
        request = Request(texts, role, max_length)
        return next(self._run(iter([(request, self.tokenize(request))]), wanted, dtype))

    def stream(
        self,
        requests: Iterable[Request],
        wanted: Collection[Representation],
        on_pack: Callable[[int, np.ndarray], None] = lambda request, rows: None,
        dtype: type[np.floating] = np.float16,
        reduce: Reduce | None = None,
    ) -> Iterator[Representations]:
        """Encodes lists of texts, one after the other, without a pause between them: a thread tokenises ahead.

        Args:
            requests: lists of texts; taken as they are needed, one list ahead.
            wanted: representations to compute.
            on_pack: called after each pack with the number of the list and the positions in it of the texts that begin in the
                pack.
            dtype: of the multi-vectors, which fill the memory: float16, as stores hold them, or float32.
            reduce: makes something else of the multi-vectors on the device; `Representations.multi_vector` is then a list of
                (rows, result) of the packs. Not where texts have windows, which need not share a pack.

        Yields:
            for each list, arrays in the order of its texts; dense and sparse in float32.
        """
        with ahead((request, self.tokenize(request)) for request in requests) as tokenised:
            yield from self._run(tokenised, wanted, dtype, on_pack, reduce)

    def tokenize(self, request: Request) -> Tokens:
        """Token ids of a list of texts, or of their windows, prefixes included: what the model reads."""
        tokenize = self.of(request.role).tokenize
        tokens = tokenize(
            [self.framed(text, request.role) for text in request.texts], request.max_length
        )
        if self.mcls:
            tokens = self.mcls.insert(tokens, request.max_length)
        if self.windows and request.role == "document":
            first, last = tokenize.edges
            tokens = self.windows.cut(tokens, first + self.prefix_tokens("document"), last)
        return tokens

    def _run(
        self,
        tokenised: Iterator[tuple[Request, Tokens]],
        wanted: Collection[Representation],
        dtype: type[np.floating],
        on_pack: Callable[[int, np.ndarray], None] = lambda request, rows: None,
        reduce: Reduce | None = None,
    ) -> Iterator[Representations]:
        prefixes = {
            role: self.prefix_tokens(role) for role in self.prefixes
        }  # before a thread uses the tokeniser
        waiting: deque[_List] = deque()

        def work() -> Iterator[Pack]:
            for number, (request, tokens) in enumerate(tokenised):
                n_prefix, backbone, heads = (
                    prefixes[request.role],
                    self.of(request.role),
                    self.heads_of(request.role),
                )
                _ = backbone.model  # loaded once, not by every worker
                collectors = {
                    name: heads[name].collector(tokens.lengths, n_prefix, dtype) for name in wanted
                }
                if reduce is not None:
                    collectors["multi_vector"] = InPacks()
                waiting.append(_List(number, backbone, n_prefix, tokens, heads, collectors))
                yield from packs(tokens.ids, backbone.runtime, waiting[-1])

        def compute(item: Pack) -> Outputs:
            heads = item.owner.heads
            only = heads["dense"].token(item.lengths) if list(wanted) == ["dense"] else None
            hidden = item.owner.backbone.forward(item, only)
            found = {name: heads[name](hidden, item.owner.n_prefix) for name in wanted}
            if "multi_vector" in wanted:
                vectors = found["multi_vector"][0].to(TORCH[dtype])
                if reduce is not None:
                    counts = heads["multi_vector"].vectors(item.lengths, item.owner.n_prefix)
                    vectors = reduce(item.owner.number, item.rows, Packed(vectors, counts))
                found["multi_vector"] = (vectors,)
            return found

        with closing(execute(work(), compute, self.backbone.runtime)) as results:
            for item, outputs in results:
                item.owner.add(item, outputs)
                on_pack(item.owner.number, item.owner.tokens.texts(item.rows))
                while waiting and waiting[0].complete:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def refuse(
    name: str,
    has: Sequence[Representation],
    limit: int,
    wanted: Collection[Representation],
    max_length: int,
    why: str = "",
) -> None:
    """Refuses representations that an encoder has not and texts longer than it reads. Raises UserError."""
    if lacking := sorted(set(wanted) - set(has)):
        raise UserError(
            f"encoder {name} has no {' or '.join(lacking)} representation: its checkpoint has {', '.join(has)}. "
            "Choose the representations and the retrievers among these."
            + (f" ({why})" if why else "")
        )
    if max_length > limit:
        raise UserError(
            f"The benchmark asks for inputs of {max_length:,} tokens, encoder {name} reads at most {limit:,}. To evaluate it "
            f"on cut texts, say so: benchmark.text.max_document_length={limit} (and max_query_length); tables state the length."
        )


@dataclass
class _List:
    """A list of texts under way."""

    number: int
    backbone: Backbone
    n_prefix: int
    tokens: Tokens
    heads: dict[Representation, Head]
    collectors: dict[Representation, Collector]
    done: int = 0

    def add(self, item: Pack, outputs: Outputs) -> None:
        self.done += len(item.rows)
        for name, tensors in outputs.items():
            self.collectors[name].add(item.rows, *(tensor.numpy() for tensor in tensors))

    @property
    def complete(self) -> bool:
        return self.done == len(self.tokens.ids)

    def result(self) -> Representations:
        found = {name: collector.result() for name, collector in self.collectors.items()}
        result = Representations(
            **found, tokens=int(self.tokens.lengths.sum()), truncated=self.tokens.truncated
        )
        return result if self.tokens.offsets is None else merged(result, self.tokens.offsets)
