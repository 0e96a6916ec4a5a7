"""Ranked lists: the rule that orders them, and their files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m3eval.buckets import discard
from m3eval.errors import UserError
from m3eval.files import whole_file
from m3eval.layout import RunFiles
from m3eval.lazy import pandas as pd
from m3eval.oserrors import pass_on

COLUMNS = ["qid", "Q0", "docid", "rank", "score", "tag"]  # of TREC's format


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
    falling = -np.asarray(scores, np.float32)
    order = np.argsort(falling)  # which of equal ones comes first is decided below
    falling = falling[order]
    if len(order) > depth:
        # Whatever equals the last document within the depth takes part in its tie.
        most = np.searchsorted(falling, falling[depth - 1], side="right")
        order, falling = order[:most], falling[:most]
    same = falling[1:] == falling[:-1]
    if same.any():
        # Where groups of equal scores begin, and the end.
        edges = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
        tied = np.flatnonzero(np.diff(edges) > 1)
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


def merged(parts: Sequence[Run], depth: int) -> Run:
    """The lists of a corpus from those of its parts, in any order, each cut at `depth`.

    Whatever is among the first `depth` of all is among those of its part, so they are the lists of
    one search over all.
    """
    return {
        qid: ranked(
            [docid for part in parts for docid in part[qid].docids],
            np.concatenate([part[qid].scores for part in parts]),
            depth,
        )
        for qid in parts[0]
    }


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
    else:
        discard(files.components)  # those of an earlier run of this name


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


def read_run(path: Path, qids: Collection[str] | None = None) -> Run:
    """Reads a run in TREC format.

    As in trec_eval, scores decide the order, not the ranks or the lines of the file.

    Args:
        path: the file.
        qids: the queries that were asked: those of which the file has no line get an empty ranking,
            and a line of any other is an error. None: whatever the file has.

    Raises:
        UserError: the file is missing or is no such run; names the first line that is wrong.
    """
    try:
        frame = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            names=COLUMNS,
            quoting=3,
            dtype={"qid": str, "Q0": str, "docid": str, "tag": str, "score": np.float64},
            keep_default_na=False,
        )
    except FileNotFoundError:
        raise UserError(
            f"The run {path} does not exist: run `m3eval search` with the same settings first."
        ) from None
    except OSError as error:
        pass_on(error)
        raise UserError(f"The run {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(
            _fault(path, qids) or f"{path} is no run in TREC format: {error}"
        ) from error
    docids, scores = frame["docid"].to_numpy(), frame["score"].to_numpy(np.float32)
    run: Run = {qid: Ranking([], np.empty(0, np.float32)) for qid in qids or ()}
    sound = not frame["tag"].isna().any() and bool(np.isfinite(scores).all())
    for qid, lines in frame.groupby("qid", sort=False).indices.items():
        sound = sound and (qids is None or qid in run)
        run[str(qid)] = ranked(docids[lines], scores[lines], len(lines))
        sound = sound and len({*run[str(qid)].docids}) == len(lines)
    if not sound:
        raise UserError(_fault(path, qids) or f"{path} is no run in TREC format.")
    return run


def _fault(path: Path, qids: Collection[str] | None) -> str | None:
    """What is wrong in the first wrong line of a file that is no run, in a sentence."""
    known = None if qids is None else {*qids}
    first: dict[tuple[str, str], int] = {}  # query and document -> line
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            columns = line.split()
            if not columns:
                continue
            where = f"{path}, line {number}"
            if len(columns) != len(COLUMNS):
                return (
                    f"{where}: not a run in TREC format, {' '.join(COLUMNS)}: "
                    f"{len(columns)} columns in {line.rstrip()[:80]!r}."
                )
            qid, _, docid, _, score, _ = columns
            if not _is_finite(score):
                return (
                    f"{where}: not a run in TREC format: the score {score[:40]!r} is no finite "
                    "number in single precision."
                )
            if known is not None and qid not in known:
                return (
                    f"{where}: there is no query {qid!r} in the benchmark, which has "
                    f"{len(known):,}, for example {next(iter(qids or ()), '')!r}."
                )
            if (qid, docid) in first:
                return (
                    f"{where}: query {qid!r} has document {docid!r} a second time, after line "
                    f"{first[qid, docid]}."
                )
            first[qid, docid] = number
    return None


def _is_finite(score: str) -> bool:
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(float(score))))
    except ValueError:
        return False


def read_components(path: Path) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
    """What a hybrid's scores are made of.

    Args:
        path: the file beside the run.

    Returns:
        qid -> n docids, and by component their [n] float32 scores.

    Raises:
        UserError: the file is missing or of another form.
    """
    kinds = defaultdict(lambda: np.float64, {"qid": str, "docid": str})
    try:
        frame = pd.read_csv(path, sep="\t", dtype=kinds, keep_default_na=False, quoting=3)
    except (OSError, ValueError) as error:
        pass_on(error)
        raise UserError(
            f"The component scores {path} cannot be read ({error}): run `m3eval search` again."
        ) from error
    if list(frame.columns[:2]) != ["qid", "docid"] or frame.isna().any(axis=None):
        raise UserError(
            f"{path} has no qid, docid and scores in every line: run `m3eval search` again."
        )
    names = list(frame.columns[2:])
    docids = frame["docid"].to_numpy()
    scores = {name: frame[name].to_numpy(np.float32) for name in names}
    return {
        str(qid): (docids[rows].tolist(), {name: scores[name][rows] for name in names})
        for qid, rows in frame.groupby("qid", sort=False).indices.items()
    }
