"""Reranking by a cross-encoder: the first documents of any run, each read together with the query."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from m3eval.benchmarks.texts import shards
from m3eval.console import meter
from m3eval.encoders import cross_encoder
from m3eval.errors import UserError
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import CHARACTERS_AT_ONCE, TEXTS_AT_ONCE, Sources


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What the model of these settings is."""
    return cross_encoder.identity(settings["checkpoint"], settings["revision"])


@retriever("a cross-encoder over candidates", "texts", model=identity)
def search(
    sources: Sources,
    inputs: list[str],
    depth: int,
    checkpoint: str,
    revision: str | None,
    max_length: int,
    activation: Literal["none", "sigmoid"],
) -> Run:
    """Scores the first `depth` documents of the run named in `inputs` again.

    Texts are those of the benchmark's rules, uncut: what counts is the length of the pair. The corpus is read once; memory
    holds the texts of the queries and of a part of the candidates.

    Args:
        sources: the texts.
        inputs: one run.
        depth: documents per query.
        checkpoint: hub id or folder.
        revision: on the hub: commit, tag or branch.
        max_length: tokens of a pair, special tokens included.
        activation: none: the model's number; sigmoid: between 0 and 1, in the same order but for ties near both ends.

    Raises:
        UserError: see `encoders.cross_encoder.load`.
    """
    if activation not in ("none", "sigmoid"):
        raise UserError(f"retriever.cross_encoder.activation={activation}: choose none or sigmoid.")
    (candidates,) = inputs
    run = sources.run(candidates)
    model = cross_encoder.load(checkpoint, revision, max_length, sources.runtime)
    texts = dict(sources.query_texts.read())
    found = {
        qid: np.zeros(min(depth, len(ranking.docids)), np.float32) for qid, ranking in run.items()
    }
    asked: dict[
        str, list[tuple[str, int]]
    ] = {}  # docid -> query and place in its list, of each pair
    for qid, ranking in run.items():
        for place, docid in enumerate(ranking.docids[:depth]):
            asked.setdefault(docid, []).append((qid, place))
    wanted = ((docid, text) for docid, text in sources.document_texts.read() if docid in asked)
    with meter(
        f"cross_encoder {sources.language}", sum(map(len, asked.values())), "pairs"
    ) as progress:
        for chunk in shards(wanted, TEXTS_AT_ONCE, CHARACTERS_AT_ONCE):
            places = [
                (qid, place, text) for docid, text in chunk for qid, place in asked.pop(docid)
            ]
            for rows, scores in model.scores([(texts[qid], text) for qid, _, text in places]):
                for row, score in zip(
                    rows.tolist(),
                    maths.sigmoid(scores) if activation == "sigmoid" else scores,
                    strict=True,
                ):
                    qid, place, _ = places[row]
                    found[qid][place] = score
                progress.advance(len(rows), len(rows))
    if asked:
        raise UserError(
            f"The run {candidates} has documents that are not in the corpus, for example {min(asked)!r}."
        )
    return {qid: ranked(ranking.docids[:depth], found[qid], depth) for qid, ranking in run.items()}
