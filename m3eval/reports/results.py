"""Results of stage 2 as they were written: `scores.json`, and the tables beside it.

A result may be anybody's, and its seal may be, too: what is read of it is held to its shape here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from m3eval import seals
from m3eval.errors import UserError
from m3eval.layout import ScoreFiles
from m3eval.lazy import pandas as pd
from m3eval.manifests import DenseStorage, Result
from m3eval.records import read

if TYPE_CHECKING:
    from pandas import DataFrame

REMEDY = "Run `m3eval evaluate` again."
NONE = "–"  # in place of a score that there is not


class _Text(msgspec.Struct):
    max_query_length: int
    max_document_length: int


class _Source(msgspec.Struct):
    target: str = msgspec.field(name="_target_")


class _Benchmark(msgspec.Struct):
    name: str
    label: str
    split: str
    text: _Text
    retrieval: dict[str, Any]
    source: _Source
    reference: str | None = None


class _Encoder(msgspec.Struct):
    name: str
    target: str | None = msgspec.field(name="_target_")  # None: there is no encoder
    windows: dict[str, int] | None = None
    mcls: int | None = None


class _Retriever(msgspec.Struct):
    target: str = msgspec.field(name="_target_")


class _Store(msgspec.Struct):
    dense: DenseStorage | None = None  # absent in results of early versions


class _Recorded(msgspec.Struct):
    """What is read of the configuration that a result recorded."""

    benchmark: _Benchmark
    encoder: _Encoder
    retriever: dict[str, _Retriever]
    store: _Store = msgspec.field(default_factory=_Store)


def shown(score: float | None) -> str:
    """A score x 100 to one decimal; there is none where it is None or no number."""
    return NONE if score is None or math.isnan(score) else f"{score:.1f}"


def read_scores(path: Path) -> Result:
    """The result in a `scores.json`, wherever it lies, without the tables beside it.

    Raises:
        UserError: it is no result, or it was edited or damaged since. One of an earlier version is
            not sealed (`Result.sealed` is None), and is read as it is.
    """
    result = read(path, Result, REMEDY)
    try:
        recorded = msgspec.convert(result.provenance.config, _Recorded)
        cells = [
            (name, score)
            for by_retriever in result.scores.values()
            for name, by_language in by_retriever.items()
            for score in by_language.values()
        ]
        if not all(math.isfinite(score) for _, score in cells if score is not None):
            raise ValueError("a score is no finite number")
        if unknown := sorted({name for name, _ in cells} - {*recorded.retriever}):
            raise ValueError(f"the configuration has no retriever {unknown[0]!r}")
    except ValueError as error:
        raise UserError(f"{path} is no result of m3eval: {error}. {REMEDY}") from error
    return result


def read_result(files: ScoreFiles, remedy: str = REMEDY) -> Result:
    """The same, where the tables that lie beside it are as they were written, too.

    Who publishes a result may leave tables out, such as the scores of single queries, which are
    large: see `left_out`.
    """
    result = read_scores(files.json)
    absent = left_out(files, result)
    there = {name: seal for name, seal in result.files.items() if name not in absent}
    seals.check_all(files.folder, there, remedy)
    return result


def left_out(files: ScoreFiles, result: Result) -> list[str]:
    """The names of the tables that were written with a result and do not lie beside it."""
    return [name for name in result.files if not (files.folder / name).exists()]


def read_per_query(files: ScoreFiles, result: Result) -> DataFrame | None:
    """The scores of single queries beside a result; None where the file was left out.

    Returns:
        columns retriever, language and qid, which are text whatever they look like, and a column a
        metric, in [0, 1]; nan: the query counts for no score.

    Raises:
        UserError: the file is not as it was written.
    """
    path = files.per_query
    if not path.exists():
        return None
    if seal := result.files.get(path.name):
        seals.check(path, seal, REMEDY)
    names = dict.fromkeys(("retriever", "language", "qid"), str)
    frame = pd.read_csv(path, dtype=names, keep_default_na=False)
    for metric in set(frame) & {*result.scores}:
        frame[metric] = pd.to_numeric(frame[metric], errors="coerce")
    return frame
