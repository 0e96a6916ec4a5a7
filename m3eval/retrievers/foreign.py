"""Runs that others made, as files: TREC's format, ranx's JSON, the predictions of mteb.

pyserini, anserini and ranx write TREC's format. A name with .json in it is JSON, any other is TREC;
both may be packed (.gz, .zst).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from m3eval.benchmarks.fields import clean
from m3eval.errors import UserError
from m3eval.files import parse_json
from m3eval.retrievers.run import COLUMNS, Run, ranked
from m3eval.textfiles import content, lines

META = "mteb_model_meta"  # what mteb says of the model, beside its subsets
NAMED = 8  # subsets or splits that a message lists

Found = tuple[str, str, str, float]  # where it stands, for messages; qid, docid, score


def load_run(path: str | Path, subset: str | None = None, split: str | None = None) -> Run:
    """Reads a run that anybody made.

    As in trec_eval, scores decide the order, not the ranks or the lines of the file; equal scores
    stand by document id, last first. Scores are compared in single precision.

    Args:
        path: a run in TREC format, `qid Q0 docid rank score tag` a line, as pyserini writes it; or
            JSON, as ranx writes it, {qid: {docid: score}}, or as mteb writes its predictions,
            {subset: {split: {qid: {docid: score}}}}. `.gz` and `.zst` are unpacked.
        subset: of mteb's predictions, where there are several.
        split: of mteb's predictions, where there are several.

    Returns:
        by qid a `Ranking`: `docids`, best first, and `scores`, [n] float32.

    Raises:
        UserError: the file is missing, damaged or no run; names the first place that is wrong.
    """
    file = Path(path).expanduser()
    is_json = ".json" in file.suffixes
    if not is_json and (subset or split):
        raise UserError(
            f"{file}: subset= and split= choose among the predictions of mteb, which are JSON; "
            "leave them out."
        )
    found = _of_json(file, subset, split) if is_json else _of_lines(file)
    documents: dict[str, dict[str, float]] = {}
    for where, qid, docid, score in found:
        if not np.isfinite(_single(score)):
            raise UserError(f"{where}: the score {score} is no finite number in single precision.")
        of_query = documents.setdefault(qid, {})
        if docid:  # a query that found nothing has none
            if docid in of_query:
                raise UserError(f"{where}: query {qid!r} has document {docid!r} a second time.")
            of_query[docid] = score
    if not documents:
        raise UserError(f"{file} is no run: it has no line.")
    return {
        qid: ranked([*of_query], np.array([*of_query.values()], np.float32), len(of_query))
        for qid, of_query in documents.items()
    }


def _single(score: float) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(score)


def _of_lines(path: Path) -> Iterator[Found]:
    for where, line in lines(path):
        columns = line.split()
        if not columns:
            continue
        if len(columns) != len(COLUMNS):
            hint = " JSON needs a name with .json in it." if line.lstrip()[:1] in "{[" else ""
            raise UserError(
                f"{where}: not a run in TREC format, {' '.join(COLUMNS)}: {len(columns)} columns "
                f"in {line[:80]!r}.{hint}"
            )
        qid, _, docid, _, score, _ = columns
        try:
            number = float(score)
        except ValueError:
            raise UserError(
                f"{where}: not a run in TREC format: the score {score[:40]!r} is no number."
            ) from None
        yield where, clean(qid, where, "qid"), clean(docid, where, "docid"), number


def _of_json(path: Path, subset: str | None, split: str | None) -> Iterator[Found]:
    try:
        read = parse_json(content(path))
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON: {error}.") from error
    for qid, found in _lists(path, read, subset, split).items():
        where = f"{path}, query {qid[:40]!a}"
        if not isinstance(found, dict):
            raise _no_run(where, found)
        if qid.split() != [qid]:
            raise UserError(f"{where}: the query id is empty or has blanks.")
        clean(qid, where, "qid")
        if not found:
            yield where, qid, "", 0.0
        for docid, score in found.items():
            place = f"{where}, document {docid[:40]!a}"
            if docid.split() != [docid]:
                raise UserError(f"{place}: the document id is empty or has blanks.")
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise _no_run(place, score)
            try:
                number = float(score)
            except OverflowError:
                raise UserError(
                    f"{place}: the score is no finite number in single precision."
                ) from None
            yield place, qid, clean(docid, place, "docid"), number


def _lists(path: Path, read: Any, subset: str | None, split: str | None) -> Mapping[str, Any]:
    """The lists of a JSON file: qid -> docid -> score."""
    if not isinstance(read, dict):
        raise _no_run(str(path), read)
    subsets = {name: value for name, value in read.items() if name != META}
    inner = [value for value in subsets.values() if isinstance(value, dict)]
    of_mteb = any(isinstance(lists, dict) for value in inner for lists in value.values())
    if not of_mteb:
        if subset or split:
            raise UserError(
                f"{path} has no subsets and splits, as the predictions of mteb have: leave "
                "subset= and split= out."
            )
        return subsets
    lists = _one(path, _one(path, subsets, "subset", subset), "split", split)
    if not isinstance(lists, dict):
        raise _no_run(str(path), lists)
    return lists


def _one(path: Path, values: Any, what: str, name: str | None) -> Any:
    """The value that is asked for, or the only one."""
    if not isinstance(values, dict):
        raise _no_run(str(path), values)
    if name is None and len(values) == 1:
        return next(iter(values.values()))
    if name in values:
        return values[name]
    names = ", ".join([*values][:NAMED]) + (" ..." if len(values) > NAMED else "")
    wrong = f"{what}={name} is none of them" if name else f"it has {len(values)} {what}s"
    raise UserError(f"{path}: {wrong}: say {what}=, one of {names}.")


def _no_run(where: str, value: Any) -> UserError:
    return UserError(
        f"{where}: expected a run, {{qid: {{docid: score}}}} or mteb's {{subset: {{split: ...}}}}, "
        f"got {str(value)[:40]!a}."
    )
