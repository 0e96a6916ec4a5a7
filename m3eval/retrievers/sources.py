"""What a retriever may read of one language: stores, texts, the encoder and its tokeniser, other retrievers' runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from m3eval.benchmarks.task import TextSet, shards
from m3eval.encoders.encoder import Request, TextEncoder, Wanted
from m3eval.encoders.representations import Packed
from m3eval.errors import UserError
from m3eval.retrievers.run import Run
from m3eval.runtime import Runtime
from m3eval.stores.cache import VectorCache
from m3eval.stores.store import Store
from m3eval.stores.writer import differences

STORED_AT_ONCE = 256  # documents whose stored vectors are in memory
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 20_000, 16_000_000  # sorted by length together for encoding
TEXTS_OF_WINDOWS_AT_ONCE = 64  # whose vectors are in memory


@dataclass
class Sources:
    """One language, as retrievers see it. Stores are opened and the encoder is loaded for those who ask for them."""

    language: str
    corpus_language: str  # another one where languages share a corpus
    document_texts: TextSet
    query_texts: TextSet
    open_store: Callable[[TextSet], Store]
    run: Callable[[str], Run]  # by retriever name: read from its file, or searched first
    encoder: Callable[[], TextEncoder]
    runtime: Runtime
    scratch: Path  # for an index of this corpus; removed when stage 1 is done with the corpus
    cache: VectorCache | None = None  # of this corpus, where other languages search it too

    @cached_property
    def corpus(self) -> Store:
        """The documents' store. Raises UserError where there is none of these texts."""
        return self.open_store(self.document_texts)

    @cached_property
    def queries(self) -> Store:
        """The queries' store. Raises UserError where there is none of these texts."""
        return self.open_store(self.query_texts)

    def docids(self, rows: np.ndarray) -> dict[int, str]:
        """Row -> docid, for [m] distinct or repeated rows, by reading the texts once; for retrievers without stores."""
        wanted = set(rows.tolist())
        return {
            row: docid for row, (docid, _) in enumerate(self.document_texts.read()) if row in wanted
        }

    def query_vectors(self) -> Packed:
        """The multi-vector representation of every query, float16, on the device: read, or encoded as stage 0 would."""
        self.runtime.set_torch_threads()
        if "multi_vector" in self.queries.plan["representations"]:
            arrays = self.queries.multi_vector(np.arange(len(self.queries)))
        else:
            encoder, (_, texts) = (
                self._encoder_of(self.queries, self.query_texts),
                zip(*self.query_texts.read(), strict=True),
            )
            request = Request(texts, "query", self.query_texts.max_length)
            found = encoder.encode(request, Wanted(["multi_vector"])).multi_vector
            arrays = [found[i] for i in range(len(found))]
        return Packed.of(arrays, self.runtime.device)

    def over_documents(
        self,
        rows: np.ndarray,
        compute: Callable[[np.ndarray, Packed], torch.Tensor],
        on_read: Callable[[int], None],
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Computes something of the multi-vectors of documents, which are read or encoded, each once, and not kept.

        Args:
            rows: sorted, distinct rows of the corpus.
            compute: given some of the rows and their vectors, float16, on the device.
            on_read: told how many more documents were read or encoded.

        Yields:
            those rows and what `compute` gave.
        """
        if "multi_vector" in self.corpus.plan["representations"]:
            yield from self._over_stored(rows, self.corpus.multi_vector, compute, on_read)
            return
        encoder = self._encoder_of(self.corpus, self.document_texts)
        if self.cache is not None:
            known = self.cache.has(rows)
            yield from self._over_stored(rows[known], self.cache.read, compute, on_read)
            rows = rows[~known]
        if encoder.windows:
            yield from self._over_windows(encoder, rows, compute, on_read)
            return
        lists: list[np.ndarray] = []  # the rows of each list of texts

        def requests() -> Iterator[Request]:
            for chunk in _chunks(self.document_texts, rows):
                numbers, texts = zip(*chunk, strict=True)
                lists.append(np.array(numbers))
                yield Request(texts, "document", self.document_texts.max_length)

        def reduce(number: int, places: np.ndarray, found: Packed) -> torch.Tensor:
            if self.cache is not None:
                self.cache.add(lists[number][places], found.vectors.cpu().numpy(), found.lengths)
            return compute(lists[number][places], found)

        done = lambda number, places: on_read(len(places))  # noqa: E731
        wanted = Wanted(["multi_vector"], on_pack=done, reduce=reduce)
        found = encoder.stream(requests(), wanted)
        for number, results in enumerate(found):
            yield from ((lists[number][places], values) for places, values in results.reduced)

    def _over_stored(
        self,
        rows: np.ndarray,
        read: Callable[[np.ndarray], list[np.ndarray]],
        compute: Callable[[np.ndarray, Packed], torch.Tensor],
        on_read: Callable[[int], None],
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(rows), STORED_AT_ONCE):
            some = rows[start : start + STORED_AT_ONCE]
            yield some, compute(some, Packed.of(read(some), self.runtime.device)).cpu().numpy()
            on_read(len(some))

    def _over_windows(
        self,
        encoder: TextEncoder,
        rows: np.ndarray,
        compute: Callable[[np.ndarray, Packed], torch.Tensor],
        on_read: Callable[[int], None],
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The windows of a document need not share a pack, so documents are encoded a few at a time and scored when whole."""
        for chunk in _chunks(self.document_texts, rows, TEXTS_OF_WINDOWS_AT_ONCE):
            numbers, texts = zip(*chunk, strict=True)
            request = Request(texts, "document", self.document_texts.max_length)
            found = encoder.encode(request, Wanted(["multi_vector"])).multi_vector
            if self.cache is not None:
                self.cache.add(np.array(numbers), found.vectors, np.diff(found.offsets))
            vectors = Packed(
                torch.from_numpy(found.vectors).to(self.runtime.device), np.diff(found.offsets)
            )
            yield np.array(numbers), compute(np.array(numbers), vectors).cpu().numpy()
            on_read(len(numbers))

    def _encoder_of(self, store: Store, texts: TextSet) -> TextEncoder:
        """The encoder that made a store, to encode some of its texts again. Raises UserError where it is another one."""
        encoder = self.encoder()
        encoder.check(["multi_vector"], texts.max_length, texts.role)
        if found := differences(store.plan["encoder"], {"name": encoder.name} | encoder.identity):
            raise UserError(
                f"The store {store.path} was made by another encoder than the one configured now:\n  "
                + "\n  ".join(found)
                + "\nMulti-vectors must come from the same one: use the settings of stage 0."
            )
        return encoder


def _chunks(
    texts: TextSet, rows: np.ndarray, most: int = TEXTS_AT_ONCE
) -> Iterator[list[tuple[int, str]]]:
    """The texts at sorted `rows`, read in one pass, in lists that fit into memory."""
    wanted = set(rows.tolist())
    found = ((str(row), text) for row, (_, text) in enumerate(texts.read()) if row in wanted)
    for chunk in shards(found, most, CHARACTERS_AT_ONCE):
        yield [(int(row), text) for row, text in chunk]
