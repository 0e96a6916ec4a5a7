"""What a retriever may read of one language: stores, texts, the encoder and its tokeniser, other retrievers' runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from m3eval.benchmarks.task import TextSet
from m3eval.encoders.encoder import Encoder
from m3eval.errors import UserError
from m3eval.retrievers.run import Run
from m3eval.runtime import Runtime
from m3eval.stores.store import Store
from m3eval.stores.writer import differences

CHUNK_TEXTS, CHUNK_CHARACTERS = 256, 1_000_000  # encoded at once for reranking; bounds memory

Material = Literal["stores", "texts", "tokenizer"]
F = TypeVar("F", bound=Callable[..., Run])


def reads(*materials: Material) -> Callable[[F], F]:
    """Marks a retriever with what it reads besides other runs: stage 1 asks for nothing else, and makes a run again when
    that changed. Stores bring texts and encoder with them.
    """

    def mark(retriever: F) -> F:
        retriever.reads = frozenset(materials)
        return retriever

    return mark


@dataclass
class Sources:
    """One language, as retrievers see it. Stores are opened and the encoder is loaded for those who ask for them."""

    language: str
    corpus_language: str  # another one where languages share a corpus
    passage_texts: TextSet
    query_texts: TextSet
    open_store: Callable[[TextSet], Store]
    run: Callable[[str], Run]  # by retriever name: read from its file, or searched first
    encoder: Callable[[], Encoder]
    runtime: Runtime
    scratch: Path  # for an index of this corpus; removed when stage 1 is done with the corpus

    @cached_property
    def corpus(self) -> Store:
        """The passages' store. Raises UserError where there is none of these texts."""
        return self.open_store(self.passage_texts)

    @cached_property
    def queries(self) -> Store:
        """The queries' store. Raises UserError where there is none of these texts."""
        return self.open_store(self.query_texts)

    def docids(self, rows: np.ndarray) -> dict[int, str]:
        """Row -> docid, for [m] distinct or repeated rows, by reading the texts once; for retrievers without stores."""
        wanted = set(rows.tolist())
        return {row: docid for row, (docid, _) in enumerate(self.passage_texts.read()) if row in wanted}

    def query_vectors(self) -> list[np.ndarray]:
        """The multi-vector representation of every query: q arrays [tokens, d] float16."""
        return [vectors for _, vectors in self._multi_vectors(self.queries, self.query_texts, np.arange(len(self.queries)))]

    def passage_vectors(self, rows: np.ndarray, on_read: Callable[[int], None]) -> Iterator[tuple[int, np.ndarray]]:
        """Row and multi-vector representation [tokens, d] float16 of the sorted, distinct `rows` of the corpus.

        `on_read` is told how many more passages were read or encoded.
        """
        return self._multi_vectors(self.corpus, self.passage_texts, rows, on_read)

    def _multi_vectors(
        self, store: Store, texts: TextSet, rows: np.ndarray, on_read: Callable[[int], None] = lambda n: None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """From the store when it has them, else encoded as stage 0 would have done, each text once."""
        if "multi_vector" in store.plan["representations"]:
            for start in range(0, len(rows), CHUNK_TEXTS):
                chunk = rows[start : start + CHUNK_TEXTS]
                on_read(len(chunk))
                yield from zip(chunk.tolist(), store.multi_vector(chunk), strict=True)
            return
        encoder = self.encoder()
        encoder.check(["multi_vector"], texts.max_length)
        found = differences(store.plan["encoder"], {"name": encoder.name} | encoder.identity)
        if found:
            raise UserError(
                f"The store {store.path} was made by another encoder than the one configured now:\n  "
                + "\n  ".join(found)
                + "\nMulti-vectors must come from the same one: use the settings of stage 0."
            )
        for chunk in _chunks(texts, rows):
            numbers, strings = zip(*chunk, strict=True)
            done = lambda batch: on_read(len(batch))  # noqa: E731
            vectors = encoder.encode(strings, texts.role, ["multi_vector"], texts.max_length, done).multi_vector
            yield from ((row, vectors[i]) for i, row in enumerate(numbers))


def _chunks(texts: TextSet, rows: np.ndarray) -> Iterator[list[tuple[int, str]]]:
    """The texts at sorted `rows`, read in one pass, in chunks that fit into memory."""
    stream = enumerate(text for _, text in texts.read())
    chunk: list[tuple[int, str]] = []
    last = -1
    for row in rows.tolist():
        _, text = next(itertools.islice(stream, row - last - 1, None))
        last = row
        chunk.append((row, text))
        if len(chunk) == CHUNK_TEXTS or sum(len(text) for _, text in chunk) >= CHUNK_CHARACTERS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
