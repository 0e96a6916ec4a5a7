"""Which shards are to be encoded, and what is in them: what every executor is given.

An executor is a function: shards in, costs out. It decides where a shard is encoded and by how many
at once; what is in a shard never depends on that.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast

import numpy as np

from m3eval.benchmarks.tally import require_fit
from m3eval.benchmarks.texts import Item, TextSet, shards
from m3eval.config import Setup
from m3eval.content import Content
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.manifests import Representation, StoreCost
from m3eval.runtime import Share
from m3eval.stores.compression import Compression
from m3eval.stores.shard_writer import ShardWriter
from m3eval.stores.writer import StoreWriter, summed

SHARD_CHARACTERS = 64_000_000  # bounds a shard of long documents
SHARD_CHARACTERS_VECTORS = 1_000_000  # about 0.5 GB of float16 vectors of width 1024, one per token
LARGE = {"multi_vector", "term_vectors"}

Work = Sequence[tuple[TextSet, ShardWriter]]
OnProgress = Callable[[float, int], None]  # work done and texts done
Costs = dict[str, StoreCost]  # by text set


@dataclass(frozen=True)
class Shard:
    """A shard that is to be encoded; it travels to whoever encodes it."""

    text_set: str  # its name
    store: ShardWriter
    number: int
    request: Request  # its texts, with their ids
    work: np.ndarray  # [texts] work of each
    content: Content  # what its texts are

    @property
    def representations(self) -> list[Representation]:
        """What is to be made of it."""
        return representations_of(self.store)

    def write(self, vectors: Representations) -> None:
        """Writes what the encoder gave for its texts."""
        self.store.write(self.number, self.request.ids, vectors, self.content)


class Done(NamedTuple):
    """A shard was written."""

    text_set: str
    cost: StoreCost


Executor = Callable[[Setup, Iterator[Shard], OnProgress], Iterator[Done]]


def require_whole(setup: Setup, what: str) -> None:
    """Raises UserError where one share of a stage is asked for, and what follows is of all."""
    if share := setup.runtime.share:
        raise UserError(
            f"runtime.share={share} is for `m3eval embed` and `m3eval search`, and {what} needs "
            "all that the shares make: leave it out."
        )


def representations_of(store: ShardWriter | StoreWriter) -> list[Representation]:
    """What a store is to hold."""
    return cast(list[Representation], list(store.plan.representations))


def to_store(setup: Setup, content: Content) -> list[Representation]:
    """What the store of these texts is to hold: see `chosen`."""
    encoder = setup.encoder
    return chosen(setup, encoder.width, encoder.representations, content.work)


def decides(setup: Setup) -> float:
    """So much work of a text set says what its store is to hold, whatever follows."""
    if setup.cfg.representations or "multi_vector" not in setup.encoder.representations:
        return 0
    return _limit(setup) / (2 * setup.encoder.width)


def chosen(
    setup: Setup, width: int, names: Sequence[Representation], characters: float
) -> list[Representation]:
    """What a store is to hold: what was asked for, or else all that the encoder has.

    Multi-vectors take a hundred times the space of the others. Unless they were asked for, a store
    holds them only where they surely stay within `store.multi_vector.limit_gb`. For larger sets
    stage 1 encodes the candidates again.

    Args:
        setup: the configuration.
        width: of the encoder's vectors.
        names: of what it has.
        characters: of all texts; a token has at least one.
    """
    if setup.cfg.representations:
        return list(setup.cfg.representations)
    small = 2 * width * characters <= _limit(setup)  # float16 takes two bytes
    return [name for name in names if small or name != "multi_vector"]


def _limit(setup: Setup) -> float:
    return setup.cfg.store.multi_vector.limit_gb * 1e9


def wanted_of(setup: Setup, representations: Collection[Representation]) -> Wanted:
    """What stores of this configuration hold of texts."""
    return Wanted(representations, dense_dtype=Compression(**setup.cfg.store.dense).dtype)


class Chunk(NamedTuple):
    """The texts of a shard."""

    sizes: list[int]  # about the characters of each
    items: list[Item]  # none where nobody asks for them


def cut(
    texts: TextSet, store: ShardWriter | StoreWriter, own: Callable[[int], bool] | None = None
) -> Iterator[Chunk]:
    """The texts of each shard of a store, in order.

    A finished store, of which shards are made again, is cut as it was.

    Args:
        texts: the set.
        store: where its shards go.
        own: says of a shard's number whether its texts are asked for; None: all are. Of others only
            sizes are held: who passes by millions of texts would make Python look for garbage
            among those of every shard, which takes as long as reading them.
    """
    asked, held = True, list[Item]()

    def sizes() -> Iterator[int]:
        for item in texts.items():
            if asked:
                held.append(item)
            yield item.size

    if store.sizes is not None:
        every = sizes()  # and what is behind the last, if anything
        parts = (list(itertools.islice(every, size)) for size in (*store.sizes, 1))
    else:
        large = LARGE & set(representations_of(store))
        characters = SHARD_CHARACTERS_VECTORS if large else SHARD_CHARACTERS
        parts = shards(sizes(), store.plan.shard_size, characters)
    asked = own is None or own(0)
    for number, part in enumerate(parts, start=1):
        if part:
            yield Chunk(part, held)
        asked, held = own is None or own(number), []


def raw_digest(chunk: Sequence[Item], place: int) -> str | None:
    """SHA-256 of what the texts of a shard are made of; None where that is not known.

    Args:
        chunk: the texts.
        place: the number of the set's texts before them.
    """
    hasher = hashlib.sha256(f"{place}\n".encode())
    for item in chunk:
        if item.raw is None:
            return None
        hasher.update(item.raw() + b"\n")
    return hasher.hexdigest()


def in_share(share: Share | None, text_set: str, number: int) -> bool:
    """Whether a shard is one of a share; every one is where there is none.

    It depends on nothing else: not on what other text sets there are, or on what is finished.
    Names are hashed, so that sets of one shard each, as of queries, do not all fall to one share.
    """
    if share is None:
        return True
    digest = hashlib.sha256(text_set.encode()).digest()
    return (int.from_bytes(digest[:8], "big") + number) % share.of == share.number


def missing(work: Work, share: Share | None, on_progress: OnProgress) -> Iterator[Shard]:
    """The shards of a share that are not there yet; of stores that hold the same, together."""
    for texts, store in sorted(work, key=lambda pair: representations_of(pair[1])):
        number, place, parsed = -1, 0, {}
        own = partial(in_share, share, texts.name)
        for number, (sizes, chunk) in enumerate(cut(texts, store, own)):
            before, place = place, place + len(sizes)
            if not own(number):
                on_progress(sum(map(texts.work, sizes)), 0)
                continue
            pairs = [item.pair() for item in chunk]
            ids, strings = zip(*pairs, strict=True)
            for key in ids:
                require_fit(texts.name, key)
            hashes = [item.hash for item in chunk]
            content = Content.of(pairs, before, texts.max_length, hashes)
            if share and (raw := raw_digest(chunk, before)):
                parsed[raw] = content.sum
            work_of_texts = np.array([texts.work(len(string)) for string in strings])
            if store.has(number, content):
                on_progress(content.work, 0)
                continue
            request = Request(strings, texts.role, texts.max_length, ids)
            yield Shard(texts.name, store, number, request, work_of_texts, content)
        store.end(number + 1)
        if parsed:
            store.leave_parsed(parsed)


def total(done: Iterable[Done], runtime: str, side_by_side: int = 1) -> Costs:
    """What the shards of each text set took, where so many were encoded at a time."""
    of_set: dict[str, list[StoreCost]] = defaultdict(list)
    for text_set, cost in done:
        of_set[text_set].append(cost)
    sums = {name: summed(costs) for name, costs in of_set.items()}
    return {
        name: replace(cost, seconds=cost.seconds / side_by_side, runtime=runtime)
        for name, cost in sums.items()
    }
