"""Results for the multi-vectors of documents are the same wherever the vectors come from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from m3eval.benchmarks.texts import TextSet
from m3eval.encoders.representations import Packed, Ragged, Representations
from m3eval.encoders.windows import Windows
from m3eval.errors import UserError
from m3eval.retrievers import document_vectors
from m3eval.retrievers.sources import Sources
from m3eval.stores.cache import VectorCache

DOCUMENTS, WIDTH = 11, 4
ROWS = np.array([0, 2, 3, 5, 6, 7, 10])
TEXTS = TextSet(
    "corpus", "document", lambda: ((f"d{row}", str(row)) for row in range(DOCUMENTS)), 99
)


def vectors_of(row):
    """As many vectors as the row's number, all of them that number."""
    return np.full((row, WIDTH), row, np.float16)


def compute(rows, documents):
    """The sum of each document's numbers, if they are the row's own."""
    parts = [vectors.float() for vectors in documents.each()]
    for row, vectors in zip(rows, parts, strict=True):
        assert vectors.shape == (row, WIDTH) and (vectors == row).all()
    return torch.stack([vectors.sum() for vectors in parts])


class Encoder:
    """Gives `vectors_of` the number that a text is, two texts to a pack and the last pack first."""

    name, identity, representations = "made_up", {}, ["multi_vector"]

    def __init__(self, windows=None):
        self.windows, self.encoded = windows, []

    def token_limit(self, role):
        return 99

    def encode(self, request, wanted):
        assert self.windows is not None  # else `stream`, which need not hold all vectors
        self.encoded += request.texts
        arrays = [vectors_of(int(text)) for text in request.texts]
        offsets = np.cumsum([0, *map(len, arrays)])
        return Representations(multi_vector=Ragged(np.concatenate(arrays), offsets))

    def stream(self, requests, wanted):
        for number, request in enumerate(requests):
            self.encoded += request.texts
            reduced = []
            for start in reversed(range(0, len(request.texts), 2)):
                places = np.arange(start, min(start + 2, len(request.texts)))[::-1]
                arrays = [vectors_of(int(request.texts[place])) for place in places]
                reduced.append((places, wanted.reduce(number, places, Packed.of(arrays)).numpy()))
                wanted.on_pack(number, places)
            yield Representations(reduced=reduced)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    for name, most in (("STORED_AT_ONCE", 2), ("TEXTS_AT_ONCE", 3), ("WINDOWED_AT_ONCE", 2)):
        monkeypatch.setattr(document_vectors, name, most)


def gathered(results, done):
    """What was computed, by row; every row once, and told of once."""
    pairs = [pair for rows, values in results for pair in zip(rows.tolist(), values, strict=True)]
    assert sorted(row for row, _ in pairs) == ROWS.tolist() and sum(done) == len(ROWS)
    return dict(pairs)


EXPECTED = {int(row): float(row * row * WIDTH) for row in ROWS}


def test_stored_encoded_and_windowed_documents_give_the_same():
    done = []
    read = lambda rows: [vectors_of(row) for row in rows]  # noqa: E731
    stored = document_vectors.over_stored(read, ROWS, compute, done.append, "cpu")
    assert gathered(stored, done) == EXPECTED
    encoder, done = Encoder(), []
    encoded = document_vectors.over_encoded(encoder, TEXTS, ROWS, compute, done.append)
    assert gathered(encoded, done) == EXPECTED and len(encoder.encoded) == len(ROWS)
    encoder, done = Encoder(windows=Windows(4, 2)), []
    windowed = document_vectors.over_windowed(encoder, TEXTS, ROWS, compute, done.append, "cpu")
    assert gathered(windowed, done) == EXPECTED and len(encoder.encoded) == len(ROWS)


@pytest.mark.parametrize("windows", [None, Windows(4, 2)])
def test_what_is_cached_is_not_encoded_again(tmp_path, windows):
    encoder, made_by = Encoder(windows), {"name": "made_up"}
    sources = Sources(
        "xx",
        "xx",
        TEXTS,
        TEXTS,
        open_store=lambda texts: None,
        run=lambda name: {},
        encoder=lambda: encoder,
        runtime=SimpleNamespace(device="cpu"),
        scratch=tmp_path,
        cache=VectorCache(tmp_path / "cache", limit=20 * WIDTH * 2),  # 20 vectors
    )
    plan = SimpleNamespace(representations=["dense"], encoder=made_by)
    sources.corpus = SimpleNamespace(path="corpus", plan=plan)
    for _ in range(2):
        done = []
        assert gathered(sources.over_documents(ROWS, compute, done.append), done) == EXPECTED
    again = encoder.encoded[len(ROWS) :]
    assert 0 < len(again) < len(ROWS)
    assert sources.cache.has(ROWS).sum() == len(ROWS) - len(again)
    made_by["name"] = "other"
    with pytest.raises(UserError, match="corpus was made by another encoder.*\n  name: 'other'"):
        next(sources.over_documents(ROWS, compute, done.append))
