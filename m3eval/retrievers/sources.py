"""What a retriever may read of one language.

Stores, texts, the encoder and its tokenizer, and the runs of other retrievers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from m3eval.benchmarks.texts import TextSet
from m3eval.comparable import Comparable, differences
from m3eval.encoders.encoder import Request, TextEncoder, check_able
from m3eval.encoders.representations import Packed
from m3eval.encoders.transfer import on_host
from m3eval.lazy import torch
from m3eval.manifests import EncoderIdentity
from m3eval.retrievers import document_vectors
from m3eval.retrievers.document_vectors import Compute, ComputePacked, OnDone, Results
from m3eval.retrievers.run import Run
from m3eval.runtime import Runtime, Share
from m3eval.stores.cache import VectorCache
from m3eval.stores.store import Store


@dataclass
class Sources:
    """One language, as retrievers see it.

    Stores are opened and the encoder is loaded for those retrievers that ask for them.
    """

    language: str
    corpus_language: str  # another one where languages share a corpus
    document_texts: TextSet
    query_texts: TextSet
    open_store: Callable[[TextSet], Store]
    run: Callable[[str], Run]  # by the name of a retriever: read from its file, or searched first
    encoder: Callable[[], TextEncoder]
    runtime: Runtime
    scratch: Path  # for an index of this corpus; removed when stage 1 is done with the corpus
    judged: Sequence[str] = ()  # the queries that scores are means over
    share: Share | None = None  # of the corpus' shards, which alone is searched; None: all
    cache: VectorCache | None = None  # of this corpus, where other languages search it too
    # What settings came to that leave it to the language, as a stemmer; the retriever at work says.
    resolved: dict[str, str | None] = field(default_factory=dict)
    encoded_by: TextEncoder | None = None  # by which the retriever at work encoded texts again

    # By cutoff, where the retriever at work is approximate: what it has of the exact lists.
    recall: dict[str, float] = field(default_factory=dict)

    @cached_property
    def corpus(self) -> Store:
        """The documents' store. Raises UserError where there is none of these texts."""
        return self.open_store(self.document_texts)

    @property
    def searched(self) -> Store:
        """The documents' store, whose blocks are of those shards alone that are to be searched."""
        return self.corpus.part(self.share) if self.share else self.corpus

    @cached_property
    def queries(self) -> Store:
        """The queries' store. Raises UserError where there is none of these texts."""
        return self.open_store(self.query_texts)

    @property
    def opened(self) -> list[Store]:
        """The stores that were asked for so far."""
        return [vars(self)[name] for name in ("corpus", "queries") if name in vars(self)]

    def docids(self, rows: np.ndarray) -> dict[int, str]:
        """Row -> docid, for [m] distinct or repeated rows; for retrievers that need no stores.

        The texts are read once.
        """
        wanted = set(rows.tolist())
        return {
            row: docid for row, (docid, _) in enumerate(self.document_texts.read()) if row in wanted
        }

    def query_vectors(self) -> Packed:
        """The multi-vectors of every query, float16, on the device.

        They are read from the store, or encoded as stage 0 would.
        """
        self.runtime.set_up_torch()
        if _has_multi_vectors(self.queries):
            self.queries.require("multi_vector")
            arrays = self.queries.multi_vector(np.arange(len(self.queries)))
            return Packed.of(arrays, self.runtime.device)
        encoder = self._encoder_of(self.queries, self.query_texts)
        ids, texts = zip(*self.query_texts.read(), strict=True)
        request = Request(texts, "query", self.query_texts.max_length, ids)
        return document_vectors.encode(encoder, request, self.runtime.device)

    def over_documents(self, rows: np.ndarray, compute: Compute, on_done: OnDone) -> Results:
        """Computes something of the multi-vectors of documents, each read or encoded once.

        Args:
            rows: sorted, distinct rows of the corpus.
            compute: given some of the rows and their vectors, float16, on the device.
            on_done: told how many more documents were read or encoded.

        Yields:
            Some of the rows, and what `compute` gave for them.
        """
        device = self.runtime.device
        if _has_multi_vectors(self.corpus):
            self.corpus.require("multi_vector")
            stored = self.corpus.multi_vector
            yield from document_vectors.over_stored(stored, rows, compute, on_done, device)
            return
        encoder = self._encoder_of(self.corpus, self.document_texts)
        compute_packed: ComputePacked = compute
        if self.cache is not None:
            cached = self.cache.has(rows)
            yield from document_vectors.over_stored(
                self.cache.read, rows[cached], compute, on_done, device
            )
            rows, compute_packed = rows[~cached], _caching(self.cache, compute)
        texts = self.document_texts
        if encoder.windows:
            yield from document_vectors.over_windowed(
                encoder, texts, rows, compute_packed, on_done, device
            )
        else:
            yield from document_vectors.over_encoded(encoder, texts, rows, compute_packed, on_done)

    def _encoder_of(self, store: Store, texts: TextSet) -> TextEncoder:
        """The encoder that made a store, to encode some of its texts again.

        Raises:
            UserError: another encoder made it, or the encoder has no multi-vectors.
        """
        encoder = self.encoder()
        check_able(encoder, ["multi_vector"], texts.max_length, texts.role)
        configured = EncoderIdentity({"name": encoder.name} | encoder.identity)
        Comparable.by(differences(store.plan.encoder, configured)).require(
            f"The store {store.path} was made by another encoder than the one configured now",
            "Multi-vectors must come from the same one: use the settings of stage 0.",
        )
        self.encoded_by = encoder
        return encoder


def _has_multi_vectors(store: Store) -> bool:
    return "multi_vector" in store.plan.representations


def _caching(cache: VectorCache, compute: Compute) -> ComputePacked:
    """What computes the same and adds the vectors to the cache."""

    def add_and_compute(rows: np.ndarray, documents: Packed) -> torch.Tensor:
        cache.add(rows, on_host(documents.vectors).numpy(), documents.lengths)
        return compute(rows, documents)

    return add_and_compute
