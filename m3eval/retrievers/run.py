"""Ranked lists: the rule that orders them, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from m3eval.errors import UserError
from m3eval.files import whole_file
from m3eval.layout import RunFiles


class Ranking(NamedTuple):
    """The documents found for one query, best first."""

    docids: list[str]
    scores: np.ndarray  # [n] float32
    components: dict[str, np.ndarray] | None = (
        None  # what a weighted sum was made of, [n] float32 each
    )

    def head(self, depth: int) -> Ranking:
        """The first `depth` documents, without components."""
        return Ranking(self.docids[:depth], self.scores[:depth])


Run = dict[
    str, Ranking
]  # by qid, in the order of the queries; a query that found nothing has an empty ranking


def rank(docids: Sequence[str], scores: np.ndarray, depth: int) -> np.ndarray:
    """The one order of documents: by score descending, equal scores by docid descending, as trec_eval has it.

    Args:
        docids: n ids.
        scores: [n], compared as float32.
        depth: how many to keep.

    Returns:
        [<= depth] positions, best first.
    """
    scores = np.asarray(scores, np.float32)
    order = np.argsort(-scores, kind="stable")
    if len(order) > depth:  # whatever equals the last one kept takes part in the tie
        order = order[: np.searchsorted(-scores[order], -scores[order[depth - 1]], side="right")]
    edges = np.flatnonzero(
        np.diff(scores[order], prepend=np.nan, append=np.nan)
    )  # where groups of equal scores begin, and the end
    tied = np.flatnonzero(np.diff(edges) > 1)
    if len(tied):
        positions = order.tolist()
        for low, high in zip(edges[tied].tolist(), edges[tied + 1].tolist(), strict=True):
            positions[low:high] = sorted(positions[low:high], key=docids.__getitem__, reverse=True)
        order = np.array(positions)
    return order[:depth]


def ranked(
    docids: Sequence[str],
    scores: np.ndarray,
    depth: int,
    components: Mapping[str, np.ndarray] | None = None,
) -> Ranking:
    """Puts documents into the one order and cuts the list."""
    order = rank(docids, scores, depth)
    kept = (
        {name: values[order].astype(np.float32) for name, values in components.items()}
        if components
        else None
    )
    return Ranking([docids[i] for i in order.tolist()], np.asarray(scores, np.float32)[order], kept)


def without_self(run: Run) -> Run:
    """Takes from every list the document whose id is the query's own; the others keep their order, none moves up from below."""
    cut = {}
    for qid, (docids, scores, components) in run.items():
        kept = np.array([docid != qid for docid in docids], bool)
        parts = {name: values[kept] for name, values in components.items()} if components else None
        cut[qid] = Ranking([docid for docid in docids if docid != qid], scores[kept], parts)
    return cut


def write_run(files: RunFiles, run: Run, tag: str) -> None:
    """Writes a run in TREC format; nine digits give every float32 back.

    Component scores go to a file beside it: qid, docid and a column for each.
    """
    with whole_file(files.trec) as part, part.open("w", encoding="utf-8") as file:
        for qid, ranking in run.items():
            pairs = zip(ranking.docids, ranking.scores.tolist(), strict=True)
            file.writelines(
                f"{qid} Q0 {docid} {i} {score:.9g} {tag}\n"
                for i, (docid, score) in enumerate(pairs, start=1)
            )
    named = next((ranking.components for ranking in run.values() if ranking.components), None)
    if named:
        with (
            whole_file(files.components) as part,
            part.open("w", encoding="utf-8") as file,
        ):
            file.write("\t".join(["qid", "docid", *named]) + "\n")
            line = "%s\t%s" + "\t%.9g" * len(named) + "\n"
            for qid, ranking in run.items():
                rows = (
                    np.stack([*ranking.components.values()], axis=1).tolist()
                    if ranking.components
                    else []
                )
                file.writelines(
                    line % (qid, docid, *row)
                    for docid, row in zip(ranking.docids, rows, strict=True)
                )


def read_run(path: Path, qids: Iterable[str] = ()) -> Run:
    """Reads a run in TREC format. As in trec_eval, scores decide the order, not the ranks or lines of the file.

    Args:
        path: the file.
        qids: queries that get an empty ranking when the file has no line of them.

    Raises:
        UserError: the file is missing or has lines of another form.
    """
    run: Run = {qid: Ranking([], np.empty(0, np.float32)) for qid in qids}
    try:
        frame = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            names=["qid", "Q0", "docid", "rank", "score", "tag"],
            quoting=3,
            dtype={"qid": str, "Q0": str, "docid": str, "tag": str, "score": np.float64},
            keep_default_na=False,
        )
    except FileNotFoundError:
        raise UserError(
            f"The run {path} does not exist: run `m3eval search` with the same settings first."
        ) from None
    except ValueError as error:
        raise UserError(
            f"{path} is not a run in TREC format (qid Q0 docid rank score tag): {error}"
        ) from error
    docids, scores = frame["docid"].to_numpy(), frame["score"].to_numpy(np.float32)
    for qid, lines in frame.groupby("qid", sort=False).indices.items():
        run[str(qid)] = ranked(docids[lines], scores[lines], len(lines))
    return run


def read_components(files: RunFiles) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
    """What a hybrid's scores are made of: qid -> docids, and by component their [n] float32 scores.

    Empty where the run has no such file.
    """
    if not files.components.exists():
        return {}
    frame = pd.read_csv(
        files.components,
        sep="\t",
        dtype={"qid": str, "docid": str},
        keep_default_na=False,
        quoting=3,
    )
    names = [name for name in frame.columns if name not in ("qid", "docid")]
    docids = frame["docid"].to_numpy()
    scores = {name: frame[name].to_numpy(np.float32) for name in names}
    return {
        str(qid): (docids[rows].tolist(), {name: scores[name][rows] for name in names})
        for qid, rows in frame.groupby("qid", sort=False).indices.items()
    }
