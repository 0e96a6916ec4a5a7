"""Expected scores: the files that a gate holds runs against.

gates/demo/e5_small_q4.yaml      scores, tolerances and what they rest on, for people and diffs
gates/demo/e5_small_q4.tsv.gz    scores and first documents of single queries
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from m3eval import kinds
from m3eval.errors import UserError
from m3eval.files import whole_file
from m3eval.manifests import EncoderIdentity, TextIdentity
from m3eval.oserrors import pass_on
from m3eval.records import plain, record

HEAD = (
    "# Expected scores (x 100, means over all judged queries), written by "
    "`m3eval gate ... gate.write=true`.\n"
    "# Never type a score. Tolerances are yours to set; they stay when the file is written again.\n"
)


# By metric. A tolerance that is not finite would make a gate that cannot fail.
Tolerances = dict[str, dict[str, kinds.NotNegative]]


class Tolerance(msgspec.Struct, frozen=True):
    """How far a value may be off, in points (x 100)."""

    drift: float  # beyond it a difference is shown
    wrong: float  # beyond it the gate fails
    # However small `wrong` is, the gate bears so many queries that go from all to nothing.
    moved: float


class QueryResult(NamedTuple):
    """The result of one query."""

    scores: dict[str, float]  # metric -> x 100; empty: the query does not count
    docids: list[str]  # the first documents, best first


@dataclass(frozen=True)
class JudgedLanguage:
    """What the scores of a language are about. It must agree, or nothing is compared."""

    queries: int  # how many are judged
    judgements: str  # digest
    texts: dict[str, TextIdentity]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What runs gave when the file was written, or what they give now."""

    scores: dict[str, dict[str, dict[str, float]]]  # metric -> retriever -> language -> x 100
    retrievers: dict[str, dict[str, Any]]  # settings of the protocol: they must agree
    encoder: EncoderIdentity | None
    made_with: dict[str, str]  # versions and device
    languages: dict[str, JudgedLanguage]
    # By retriever, language and qid; in the file beside.
    queries: dict[tuple[str, str, str], QueryResult]


def read_gate(path: Path) -> tuple[Expected, dict[str, Tolerance]]:
    """The expected scores of a gate, and its tolerances by metric.

    Raises:
        UserError: a file is missing or damaged, or a tolerance is no number of at least 0.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for problem in kinds.problems(content["tolerance"], Tolerances, "tolerance"):
            raise UserError(f"The gate {path}: {problem}")
        tolerance = msgspec.convert(content.pop("tolerance"), dict[str, Tolerance])
        expected = record({**content, "queries": {}}, Expected)
        return replace(expected, queries=_read_queries(path, list(expected.scores))), tolerance
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        pass_on(error)
        raise UserError(
            f"The gate {path} cannot be read ({type(error).__name__}: {error}): write it with "
            "gate.write=true."
        ) from error


def write_gate(path: Path, now: Expected, tolerance: Mapping[str, Tolerance]) -> list[Path]:
    """Writes a gate; returns its files."""
    content = plain(now)
    del content["queries"]
    content["scores"] = {
        metric: {
            retriever: {language: round(value, 4) for language, value in by_language.items()}
            for retriever, by_language in by_retriever.items()
        }
        for metric, by_retriever in now.scores.items()
    }
    settings = {metric: msgspec.to_builtins(values) for metric, values in tolerance.items()}
    text = yaml.safe_dump(
        {"tolerance": settings, **content},
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    with whole_file(queries_file(path)) as part:
        # The time is left out, so the same lists make the same file.
        part.write_bytes(gzip.compress(_queries_table(now).encode(), mtime=0))
    with whole_file(path) as part:
        part.write_text(HEAD + text, encoding="utf-8")
    return [path, queries_file(path)]


def queries_file(path: Path) -> Path:
    """The file of single queries beside a gate."""
    return path.with_suffix(".tsv.gz")


def _queries_table(now: Expected) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["retriever", "language", "qid", *now.scores, "docids"])
    for key, result in now.queries.items():
        if not result.scores:
            continue
        scores = (f"{result.scores[metric]:.4f}" for metric in now.scores)
        writer.writerow([*key, *scores, " ".join(result.docids)])
    return text.getvalue()


def _read_queries(path: Path, metrics: list[str]) -> dict[tuple[str, str, str], QueryResult]:
    with gzip.open(queries_file(path), "rt", encoding="utf-8", newline="") as file:
        return {
            (line["retriever"], line["language"], line["qid"]): QueryResult(
                {metric: float(line[metric]) for metric in metrics}, line["docids"].split()
            )
            for line in csv.DictReader(file, delimiter="\t")
        }
