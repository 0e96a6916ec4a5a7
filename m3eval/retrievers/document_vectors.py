"""Computing something of the multi-vectors of documents, wherever these come from.

The vectors of all documents would fill memory. So whoever wants something of them says how to
compute it of some documents, and this is done where their vectors are: read from disk, on the
device that encodes them, or, where documents are cut into windows, when all windows of a document
are there. There is a function for each of these ways; all yield rows and results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from m3eval.benchmarks.texts import TextSet, shards
from m3eval.encoders.encoder import Request, TextEncoder, Wanted
from m3eval.encoders.representations import Packed, Separate
from m3eval.lazy import torch

STORED_AT_ONCE = 256  # documents whose stored vectors are in memory
# Texts that are sorted by length together for encoding.
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 20_000, 16_000_000
WINDOWED_AT_ONCE = 64  # texts cut into windows whose vectors are in memory

# Given rows of the corpus and the vectors of these documents (float16, on the device): a result
# for them. It may be called by several threads.
Documents = Packed | Separate
Compute = Callable[[np.ndarray, Documents], "torch.Tensor"]
ComputePacked = Callable[[np.ndarray, Packed], "torch.Tensor"]  # as an encoder gives them
Results = Iterator[tuple[np.ndarray, np.ndarray]]  # rows, and what `Compute` gave for them
OnDone = Callable[[int], None]  # is told how many more documents were read or encoded


def over_stored(
    read: Callable[[np.ndarray], list[np.ndarray]],
    rows: np.ndarray,
    compute: Compute,
    on_done: OnDone,
    device: str,
) -> Results:
    """Of vectors on disk.

    Args:
        read: gives an array [tokens, d] float16 for each of some rows, memory-mapped.
        rows: rows of the corpus.
        compute: what to compute.
        on_done: see `OnDone`.
        device: where to compute it.
    """
    for start in range(0, len(rows), STORED_AT_ONCE):
        part = rows[start : start + STORED_AT_ONCE]
        arrays = read(part)
        # A CPU takes them from where they are; copies go to a device.
        documents = Separate(arrays) if device == "cpu" else Packed.of(arrays, device)
        yield part, compute(part, documents).cpu().numpy()
        on_done(len(part))


def over_encoded(
    encoder: TextEncoder, texts: TextSet, rows: np.ndarray, compute: ComputePacked, on_done: OnDone
) -> Results:
    """Of documents that are encoded for it, pack by pack.

    Args:
        encoder: one that cuts no documents into windows.
        texts: the corpus.
        rows: sorted, distinct rows of it.
        compute: what to compute.
        on_done: see `OnDone`.
    """
    rows_of_list: dict[int, np.ndarray] = {}  # by the number of a list of texts under way

    def requests() -> Iterator[Request]:
        for number, (part, documents) in enumerate(_texts_at(texts, rows, TEXTS_AT_ONCE)):
            rows_of_list[number] = part
            yield documents

    def reduce(number: int, places: np.ndarray, vectors: Packed) -> torch.Tensor:
        return compute(rows_of_list[number][places], vectors)

    def on_pack(number: int, places: np.ndarray) -> None:
        on_done(len(places))

    wanted = Wanted(["multi_vector"], on_pack=on_pack, reduce=reduce)
    for number, encoded in enumerate(encoder.stream(requests(), wanted)):
        part = rows_of_list.pop(number)
        for places, values in encoded.reduced or ():
            yield part[places], values


def over_windowed(
    encoder: TextEncoder,
    texts: TextSet,
    rows: np.ndarray,
    compute: ComputePacked,
    on_done: OnDone,
    device: str,
) -> Results:
    """Of documents that are encoded for it in windows.

    The windows of a document need not share a pack. So a few documents at a time are encoded, and
    computed with when they are whole.

    Args:
        encoder: one that cuts documents into windows.
        texts: the corpus.
        rows: sorted, distinct rows of it.
        compute: what to compute.
        on_done: see `OnDone`.
        device: where to compute it.
    """
    for part, documents in _texts_at(texts, rows, WINDOWED_AT_ONCE):
        vectors = encode(encoder, documents, device)
        yield part, compute(part, vectors).cpu().numpy()
        on_done(len(part))


def encode(encoder: TextEncoder, request: Request, device: str) -> Packed:
    """The multi-vectors of texts, float16, on the device."""
    encoded = encoder.encode(request, Wanted(["multi_vector"])).multi_vector
    assert encoded is not None  # it was asked for
    return Packed(torch.from_numpy(encoded.vectors).to(device), np.diff(encoded.offsets))


def _texts_at(texts: TextSet, rows: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, Request]]:
    """Some of the sorted `rows` and the texts at them, read in one pass, as memory allows.

    Nothing is held for each row: they may be all of a corpus.
    """

    def at_rows() -> Iterator[tuple[str, str]]:
        ahead = iter(rows)
        wanted = next(ahead, None)
        for row, pair in enumerate(texts.read()):
            if row == wanted:
                yield pair
                wanted = next(ahead, None)

    done = 0
    for part in shards(at_rows(), most, CHARACTERS_AT_ONCE):
        ids, documents = zip(*part, strict=True)
        yield rows[done : done + len(ids)], Request(documents, "document", texts.max_length, ids)
        done += len(ids)
