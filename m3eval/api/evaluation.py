"""The three stages from Python, and what they measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3eval import cli, secrets
from m3eval.config import compose
from m3eval.console import console, printing
from m3eval.errors import UserError
from m3eval.lazy import pandas as pd
from m3eval.metrics.ranking import Scores
from m3eval.quoting import literal
from m3eval.reports import notebook
from m3eval.reports.table_files import markdown
from m3eval.retrievers.finished import read_run
from m3eval.retrievers.run import Run
from m3eval.stages.evaluate import Evaluated

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class EvaluatedSystem:
    """One retriever of an evaluation, to be compared with others."""

    retriever: str
    evaluated: Evaluated

    @property
    def per_query(self) -> dict[str, Scores]:
        """By language: metric -> qid -> score in [0, 1]."""
        table = self.evaluated.table
        return {name: table.per_query[self.retriever, name] for name in table.languages}


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What `evaluate` measured. Shown as tables in a notebook."""

    evaluated: Evaluated

    @property
    def folder(self) -> Path:
        """Where stores, runs and tables lie; `m3eval info` and `m3eval site` read it."""
        return self.evaluated.setup.layout.folder

    @property
    def scores(self) -> DataFrame:
        """Means over all judged queries x 100: a row per metric and language (of several also
        their average), a column per retriever; nan where nothing could be scored.
        """
        table = self.evaluated.table
        by_metric = {metric: table.scores(metric) for metric in table.metrics}
        return pd.concat(by_metric, names=["metric", "language"])

    @property
    def per_query(self) -> DataFrame:
        """The score of every judged query in [0, 1], a row each: retriever, language, qid, and a
        column per metric.
        """
        cells = {
            cell: pd.DataFrame(by_metric)
            for cell, by_metric in self.evaluated.table.per_query.items()
        }
        return pd.concat(cells, names=["retriever", "language", "qid"]).reset_index()

    @cached_property
    def runs(self) -> dict[tuple[str, str], Run]:
        """The ranked lists by retriever and language, read from their files once."""
        setup, table = self.evaluated.setup, self.evaluated.table
        qids = {task.language: [query.qid for query in task.queries] for task in setup.tasks}
        return {
            (name, language): read_run(setup.layout.run(name, language), qids[language])
            for name, language in table.per_query
        }

    @property
    def systems(self) -> dict[str, EvaluatedSystem]:
        """Its retrievers by name, for `compare`."""
        return {
            name: EvaluatedSystem(name, self.evaluated) for name in self.evaluated.table.retrievers
        }

    def table(self) -> str:
        """The tables as Markdown, with published numbers beside ours: scores.md's text."""
        return markdown(self.evaluated.table)

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        table = self.evaluated.table
        tables = [notebook.of_scores(table, metric) for metric in table.metrics]
        return "".join([*tables, notebook.lines(table.coverage)])


def evaluate(
    benchmark: str = "demo",
    encoder: str | None = "e5_small_q4",
    languages: Sequence[str] | None = None,
    retrievers: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Encodes, searches and scores: `m3eval run` from Python, for the same files and tables.

    What an earlier call, or the command, has finished is found finished.

        evaluate("demo", "e5_small_q4", languages=["ko"])
        evaluate("folder", "bge_m3", settings={"benchmark.root": "/data/mine"})

    Args:
        benchmark: one of `m3eval list benchmarks`.
        encoder: one of `m3eval list encoders`; None: none, for retrievers that read words.
        languages: of the benchmark; None: all that it has.
        retrievers: of `m3eval list retrievers`; None: dense, sparse, multi_vector and hybrids.
        metrics: as in nDCG@10; None: the benchmark's.
        settings: any other setting by its name, as in {"output_dir": "out"}: docs/settings.md.
        quiet: print nothing while it works.

    Returns:
        the scores of what was asked for, the scores of single queries, the ranked lists.

    Raises:
        UserError: a setting, a file or a text is wrong; says which, and what to do.
    """
    chosen = {
        "benchmark": benchmark,
        "encoder": encoder or "none",
        "languages": languages,
        "retriever": retrievers,
        "benchmark.metrics": metrics,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    words = words_of(given | dict(settings or {}))
    with _speaking(quiet):
        evaluated = cli.call(cli.find("run"), words)
    if evaluated is None:
        raise UserError("plan_only=true scores nothing: leave it out, or use `m3eval embed`.")
    return Evaluation(_asked_for(evaluated, compose(*words), languages))


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [f"{name}={literal(value)}" for name, value in settings.items()]


@contextmanager
def _speaking(quiet: bool) -> Iterator[None]:
    """Within the block, secrets are masked, and nothing is said where quiet is asked for."""
    secrets.note_environment()
    before, console.quiet = console.quiet, quiet
    try:
        with printing():
            yield
    finally:
        console.quiet = before


def _asked_for(evaluated: Evaluated, cfg: Any, languages: Sequence[str] | None) -> Evaluated:
    """Without what stood in the tables besides."""
    table = evaluated.table
    names = [name for name in table.retrievers if name in cfg.retriever]
    kept = [name for name in table.languages if languages is None or name in languages]
    cells = {cell: of for cell, of in table.per_query.items() if cell[0] in names}
    cells = {cell: of for cell, of in cells.items() if cell[1] in kept}
    narrow = replace(table, retrievers=names, languages=kept, per_query=cells)
    return replace(evaluated, table=narrow)
