"""An encoder that is quick and always gives the same: vectors out of the hashes of words."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse

from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.representations import Ragged, Representations
from m3eval.manifests import Representation
from m3eval.runtime import Runtime
from tests.faults.injection import die_where_told, in_this_process_of_several

WIDTH, VOCABULARY = 16, 4096


@functools.lru_cache(1 << 16)
def token(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest()) % VOCABULARY


# A vector of length 1 for each token.
TABLE = np.random.default_rng(0).normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
TABLE /= np.linalg.norm(TABLE, axis=1, keepdims=True)


@dataclass
class FakeEncoder:
    """A `TextEncoder`; a text is its words."""

    name: str
    label: str
    identity: dict[str, Any]
    representations: list[Representation] = field(
        default_factory=lambda: ["dense", "sparse", "multi_vector"]
    )
    why_no_other: str = ""
    engine: str = "hashes"
    width: int = WIDTH
    prefixes: dict[str, str] = field(default_factory=lambda: {"query": "", "document": ""})
    windows: None = None
    tokenization: None = None
    latent: bool = False
    attention: None = None
    price: None = None

    def token_limit(self, role: str) -> int:
        return 1_000_000

    def bytes_per_text(self, name: Representation, role: str, tokens: float) -> float:
        return {"dense": 2 * WIDTH, "sparse": 6 * tokens}.get(name, 2 * WIDTH * tokens)

    def framed(self, text: str, role: str) -> str:
        return text

    def tokenize(self, request: Request) -> Tokens:
        words = [text.split() or [""] for text in request.texts]
        ids = [np.array([token(w) for w in each[: request.max_length]], np.int32) for each in words]
        return Tokens(ids, sum(len(each) > request.max_length for each in words))

    def encode(self, request: Request, wanted: Wanted) -> Representations:
        return next(self.stream([request], wanted))

    def stream(self, requests: Iterable[Request], wanted: Wanted) -> Iterator[Representations]:
        for number, request in enumerate(requests):
            die_where_told(next(iter(request.ids), ""))
            tokens = self.tokenize(request)
            lengths = tokens.lengths
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            ids = np.concatenate(tokens.ids)
            made = Representations(tokens=int(lengths.sum()), truncated=tokens.truncated)
            if "dense" in wanted.representations:
                sums = np.add.reduceat(TABLE[ids], offsets[:-1])
                made.dense = sums / np.linalg.norm(sums, axis=1, keepdims=True)
            if "sparse" in wanted.representations:
                shape = (len(lengths), VOCABULARY)
                # A token weighs more or less by its text, as learned weights do: ties are few.
                by_text = 1 + np.add.reduceat(ids, offsets[:-1]) % 1009 / np.float32(1009)
                values = np.repeat(by_text, lengths).astype(np.float32)
                weights = scipy.sparse.csr_array((values, ids, offsets), shape)
                weights.sum_duplicates()
                made.sparse = weights
            if "multi_vector" in wanted.representations:
                made.multi_vector = Ragged(TABLE[ids].astype(wanted.dtype), offsets)
            if wanted.on_pack is not None:
                wanted.on_pack(number, np.arange(len(lengths)))
            yield made


def load(name: str, label: str, runtime: Runtime) -> FakeEncoder:
    in_this_process_of_several()
    return FakeEncoder(name, label, {"family": "fake", "precision": runtime.precision})
