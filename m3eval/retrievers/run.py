"""Ranked lists: the rule that orders them, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m3eval.errors import UserError
from m3eval.files import whole_file
from m3eval.layout import RunFiles
from m3eval.lazy import pandas as pd


class Ranking(NamedTuple):
    """The documents that a retriever returns for one query, best first."""

    docids: list[str]
    scores: np.ndarray  # [n] float32
    # What a weighted sum was made of: component -> [n] float32.
    components: dict[str, np.ndarray] | None = None

    def head(self, depth: int) -> Ranking:
        """The first `depth` documents, without components."""
        return Ranking(self.docids[:depth], self.scores[:depth])


# By qid, in the order of the queries. A query for which nothing was found has an empty ranking.
Run = dict[str, Ranking]


def rank(docids: Sequence[str], scores: np.ndarray, depth: int) -> np.ndarray:
    """The one order of documents: by score, highest first; equal scores by docid, last first.

    This is trec_eval's order.

    Args:
        docids: n ids.
        scores: [n], compared as float32.
        depth: how many documents the list may have.

    Returns:
        [<= depth] positions, best first.
    """
    scores = np.asarray(scores, np.float32)
    order = np.argsort(-scores, kind="stable")
    if len(order) > depth:
        # Whatever equals the last document within the depth takes part in its tie.
        order = order[: np.searchsorted(-scores[order], -scores[order[depth - 1]], side="right")]
    # Where groups of equal scores begin, and the end.
    edges = np.flatnonzero(np.diff(scores[order], prepend=np.nan, append=np.nan))
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
    """Puts documents into the one order and cuts the list at `depth`."""
    order = rank(docids, scores, depth)
    positions: list[int] = order.tolist()
    parts = {name: values[order].astype(np.float32) for name, values in (components or {}).items()}
    return Ranking(
        [docids[i] for i in positions], np.asarray(scores, np.float32)[order], parts or None
    )


def without_self(run: Run) -> Run:
    """Takes the document whose id is the query's own from every list.

    The others keep their order; no document moves up from below the depth.
    """
    others: Run = {}
    for qid, (docids, scores, components) in run.items():
        other = np.array([docid != qid for docid in docids], bool)
        parts = {name: values[other] for name, values in (components or {}).items()}
        others[qid] = Ranking(
            [docid for docid in docids if docid != qid], scores[other], parts or None
        )
    return others


def write_run(files: RunFiles, run: Run, tag: str) -> None:
    """Writes a run in TREC format; nine digits give every float32 back.

    Component scores go to a file beside it: qid, docid and a column for each component.
    """
    with whole_file(files.trec) as part, part.open("w", encoding="utf-8") as file:
        for qid, ranking in run.items():
            pairs = zip(ranking.docids, ranking.scores.tolist(), strict=True)
            file.writelines(
                f"{qid} Q0 {docid} {i} {score:.9g} {tag}\n"
                for i, (docid, score) in enumerate(pairs, start=1)
            )
    components = next((ranking.components for ranking in run.values() if ranking.components), None)
    if components:
        _write_components(files.components, run, list(components))


def _write_components(path: Path, run: Run, names: list[str]) -> None:
    with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
        file.write("\t".join(["qid", "docid", *names]) + "\n")
        line = "%s\t%s" + "\t%.9g" * len(names) + "\n"
        for qid, ranking in run.items():
            if ranking.components:
                rows = np.stack([*ranking.components.values()], axis=1).tolist()
                file.writelines(
                    line % (qid, docid, *row)
                    for docid, row in zip(ranking.docids, rows, strict=True)
                )


def read_run(path: Path, qids: Iterable[str] = ()) -> Run:
    """Reads a run in TREC format.

    As in trec_eval, scores decide the order, not the ranks or the lines of the file.

    Args:
        path: the file.
        qids: queries that get an empty ranking where the file has no line of them.

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
    """What a hybrid's scores are made of; empty where the run has no such file.

    Returns:
        qid -> n docids, and by component their [n] float32 scores.
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
