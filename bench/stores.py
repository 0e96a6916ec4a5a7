"""Stores on disk and the sources of a language, as stages 0 and 1 make them, for benches of search.

A folder has the stores `corpus` and `queries`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m3eval.benchmarks.texts import TextSet
from m3eval.encoders.representations import Representations
from m3eval.manifests import EncoderIdentity, Representation, StorePlan, TextIdentity
from m3eval.retrievers.sources import Sources
from m3eval.runtime import Runtime
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter

SHARD = 20_000  # texts


def plan(name: str, n: int | None, representation: Representation) -> StorePlan:
    """The plan of a store of `n` texts, or of a number that is not known."""
    texts = TextIdentity(
        benchmark="bench",
        split="none",
        set=name,
        document_fields=None,
        joint=None,
        max_length=512,
        count=n,
    )
    encoder = EncoderIdentity({"name": "random"})
    return StorePlan(
        texts=texts,
        encoder=encoder,
        representations=[representation],
        shard_size=SHARD,
        made_with={},
    )


def write(
    path: Path,
    n: int,
    prefix: str,
    representation: Representation,
    make: Callable[[int, int], Representations],
) -> None:
    """Writes a store of `n` texts.

    Args:
        path: its folder.
        n: the number of texts.
        prefix: ids are this and the number of the text.
        representation: the one that the store has.
        make: gives a shard's vectors from its number and its number of texts.
    """
    writer = StoreWriter(path, plan(path.name, n, representation))
    shards = writer.start()
    for number, start in enumerate(range(0, n, SHARD)):
        size = min(SHARD, n - start)
        ids = [f"{prefix}{row}" for row in range(start, start + size)]
        shards.write(number, ids, make(number, size))
    writer.finish()


def sources(folder: Path, runtime: Runtime) -> Sources:
    """What stage 1 gives to a retriever that reads stores only."""

    def no_texts() -> None:
        raise AssertionError("this retriever reads no texts")

    return Sources(
        language="xx",
        corpus_language="xx",
        document_texts=TextSet("corpus", "document", no_texts, 0),
        query_texts=TextSet("queries", "query", no_texts, 0),
        open_store=lambda texts: Store(folder / texts.name),
        run={}.__getitem__,
        encoder=no_texts,
        runtime=runtime,
        scratch=folder / "scratch",
    )
