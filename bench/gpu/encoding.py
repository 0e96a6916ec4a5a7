"""Encoding and reranking, beside FlagEmbedding at its best batch size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from bench import material, peers, rerank
from bench.gpu.scene import ALL, DENSE, WITH_SPARSE, Row, Scene, cosines, with_budget
from bench.material import LIMIT
from bench.pairs import Contender, alternate, times
from m3eval.encoders.encoder import Request, Wanted

TEXTS = {128: 16_000, 512: 4_000, 8192: 160}  # tokens of a text -> number of texts
# FlagEmbedding's; it makes them smaller where memory is short.
BATCH_SIZES = {128: (256, 512, 1024), 512: (64, 128, 256), 8192: (4, 8, 16)}
BUDGETS = (16_384, 32_768, 65_536)


def of_128(scene: Scene) -> Iterator[Row]:
    """See `_of_length`."""
    return _of_length(scene, 128)


def of_512(scene: Scene) -> Iterator[Row]:
    """See `_of_length`."""
    return _of_length(scene, 512)


def of_8192(scene: Scene) -> Iterator[Row]:
    """See `_of_length`."""
    return _of_length(scene, 8192)


def _of_length(scene: Scene, whole: int) -> Iterator[Row]:
    """Texts of one length into each set of representations; FlagEmbedding at its best of three."""
    length, n = scene.length(whole), scene.size(TEXTS[whole])
    sizes = BATCH_SIZES[whole][: 1 if scene.tiny else None]
    lengths = np.full(n, length)
    with contextlib.ExitStack() as stack:
        contenders = _contenders(
            stack, scene, material.long_texts(n, length), length, batch_size=sizes[0]
        )
        best = {}
        if len(contenders) > 1:  # the batch size is that which is best for dense vectors
            peer = contenders[1]
            peer.run(warm=True)
            for size in sizes:
                peer.run(batch_size=size)
            best = {"batch_size": sizes[int(np.argmin(peer.seconds))]}
        for wanted in (DENSE, WITH_SPARSE, ALL):
            row = _in_turn(scene, contenders, lengths, best, wanted=wanted)
            yield f"{length:,} tokens, {' + '.join(wanted)}", row


def queries(scene: Scene) -> Iterator[Row]:
    """256 queries of about 12 tokens, in one call and in a call each."""
    texts = material.queries(8 if scene.tiny else 256)
    lengths = material.lengths(texts)
    for how, alone in (("in one call", False), ("in a call each", True)):
        with contextlib.ExitStack() as stack:
            contenders = _contenders(stack, scene, texts, LIMIT, len(texts), alone)
            yield f"{len(texts)} queries {how}", _in_turn(scene, contenders, lengths, {})


def _contenders(
    stack: contextlib.ExitStack,
    scene: Scene,
    texts: list[str],
    limit: int,
    batch_size: int,
    alone: bool = False,
) -> list[Contender]:
    """m3eval, and FlagEmbedding where it is installed; their processes end with the stack."""
    words = scene.checkpoint, texts, scene.precision, DENSE, scene.device
    contenders = [Contender("m3eval", peers.m3eval, *words, limit, alone)]
    stack.callback(contenders[0].end)
    if find_spec("FlagEmbedding"):
        peer = peers.flag_embedding, *words, batch_size, limit, alone
        contenders.append(Contender("FlagEmbedding", *peer))
        stack.callback(contenders[1].end)
    return contenders


def _in_turn(
    scene: Scene,
    contenders: Sequence[Contender],
    lengths: np.ndarray,
    of_peer: dict[str, int],
    **choice: Any,
) -> dict[str, Any]:
    """What each took; `of_peer` chooses for FlagEmbedding alone."""
    for contender in contenders:
        contender.forget()
    vectors = alternate(contenders, scene.rounds, **choice)
    row: dict[str, Any] = {}
    for contender in contenders:
        summary = contender.summary()
        row[contender.name] = summary | scene.speed(summary["seconds"]["median"], lengths)
    if len(contenders) == 1:
        return row | {"FlagEmbedding": "not installed"}
    row["FlagEmbedding"] |= of_peer | cosines(vectors["FlagEmbedding"], vectors["m3eval"])
    return row | {"times_as_fast": times(contenders[1], contenders[0])}


def budgets(scene: Scene) -> Iterator[Row]:
    """Dense vectors of texts of each length, with packs of several sizes."""
    encoder = scene.encoder()
    for whole in (512, 128, 8192):
        length, n = scene.length(whole), scene.size(TEXTS[whole] // 2)
        request = Request(material.long_texts(n, length), "document", length)
        lengths = np.full(n, length)
        for budget in BUDGETS:
            tokens = budget // 64 if scene.tiny else budget
            sized = with_budget(encoder, tokens)
            seconds = scene.seconds(lambda: sized.encode(request, Wanted(DENSE)), 3)  # noqa: B023
            row = {"seconds": seconds} | scene.speed(seconds["median"], lengths)
            yield f"{length:,} tokens, packs of {tokens:,}", row


def reranking(scene: Scene) -> Iterator[Row]:
    """Dense, sparse and multi-vector scores of pairs: see bench/rerank.py."""
    sizes = (2, 3, 6) if scene.tiny else (50, 100, 2000)
    half = "fp16" if scene.cuda else "bf16"
    if find_spec("FlagEmbedding") is None:
        raise ModuleNotFoundError("FlagEmbedding, which it is held against, is not installed")
    yield (
        f"{sizes[0]} queries x {sizes[1]} candidates",
        rerank.case(scene.checkpoint, *sizes, scene.device, scene.rounds, half, scene.precision),
    )
