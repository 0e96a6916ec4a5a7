"""Reranking by a cross-encoder, which reads a query together with each of its candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from m3eval.benchmarks.texts import shards
from m3eval.console import meter, say
from m3eval.errors import UserError
from m3eval.kinds import Count
from m3eval.retrievers import scores as maths
from m3eval.retrievers.document_vectors import CHARACTERS_AT_ONCE, TEXTS_AT_ONCE
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the model of these settings is."""
    from m3eval.encoders import cross_encoder  # imports torch

    return cross_encoder.identity(settings["checkpoint"], settings["revision"])


@retriever("a cross-encoder over candidates", "texts", model=identity)
def search(
    sources: Sources,
    inputs: list[str],
    depth: Count,
    checkpoint: str,
    revision: str | None,
    max_length: Count,
    activation: Literal["none", "sigmoid"],
) -> Run:
    """Scores the first `depth` documents of the run named in `inputs` again.

    Texts are those of the benchmark's rules, uncut: what counts is the length of the pair. The
    corpus is read once; memory holds the texts of the queries and of a part of the candidates.

    Args:
        sources: the texts.
        inputs: one run.
        depth: documents per query.
        checkpoint: hub id or folder.
        revision: on the hub: commit, tag or branch.
        max_length: tokens of a pair, special tokens included.
        activation: none: the model's number; sigmoid: between 0 and 1, in the same order but for
            ties near both ends.

    Raises:
        UserError: see `encoders.cross_encoder.load`.
    """
    from m3eval.encoders import cross_encoder  # imports torch

    if activation not in ("none", "sigmoid"):
        raise UserError(f"retriever.cross_encoder.activation={activation}: choose none or sigmoid.")
    (first_stage,) = inputs
    run = sources.run(first_stage)
    model = cross_encoder.load(checkpoint, revision, max_length, sources.runtime)
    query_of = dict(sources.query_texts.read())
    scores = {
        qid: np.zeros(min(depth, len(ranking.docids)), np.float32) for qid, ranking in run.items()
    }
    # docid -> the queries that have it as a candidate, and its place in their lists
    asked: dict[str, list[tuple[str, int]]] = {}
    for qid, ranking in run.items():
        for place, docid in enumerate(ranking.docids[:depth]):
            asked.setdefault(docid, []).append((qid, place))
    candidates = ((docid, text) for docid, text in sources.document_texts.read() if docid in asked)
    pairs, cut = sum(map(len, asked.values())), 0
    with meter(f"cross_encoder {sources.language}", pairs, "pairs") as progress:
        for part in shards(candidates, TEXTS_AT_ONCE, CHARACTERS_AT_ONCE):
            places = [(qid, place, text) for docid, text in part for qid, place in asked.pop(docid)]
            texts = [(query_of[qid], text) for qid, _, text in places]
            framed = model.framed(texts)
            cut += framed.cut

            def name(row: int, places: Sequence[tuple[str, int, str]] = places) -> str:
                qid, place, _ = places[row]
                return f"query {qid!r} with document {run[qid].docids[place]!r}"

            for rows, values in model.scores(framed, name):
                values = maths.sigmoid(values) if activation == "sigmoid" else values
                for row, value in zip(rows.tolist(), values, strict=True):
                    qid, place, _ = places[row]
                    scores[qid][place] = value
                progress.advance(len(rows), len(rows))
    if cut:
        say(
            f"  cross_encoder {sources.language}: {cut:,} of {pairs:,} pairs were longer than "
            f"{max_length:,} tokens and were cut"
        )
    if asked:
        raise UserError(
            f"The run {first_stage} has documents that are not in the corpus, for example "
            f"{min(asked)!r}."
        )
    return {qid: ranked(ranking.docids[:depth], scores[qid], depth) for qid, ranking in run.items()}
