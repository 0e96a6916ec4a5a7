"""m3eval from Python, for notebooks: the three stages, paired tests, runs of others.

The same as the commands `run` and `compare`: the same settings, checks, files and tables. `m3eval`
itself hands these names out (m3eval/__init__.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3eval import cli, secrets
from m3eval.commands.compare import compare_all, pairs_of
from m3eval.commands.judged import remarks
from m3eval.comparable import Comparable, all_alike
from m3eval.config import compose
from m3eval.console import console, printing
from m3eval.errors import UserError
from m3eval.lazy import pandas as pd
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import Scores
from m3eval.quoting import literal
from m3eval.reports import notebook, pairwise, pairwise_tables
from m3eval.reports.table_files import markdown
from m3eval.retrievers.finished import read_run
from m3eval.retrievers.foreign import load_run
from m3eval.retrievers.run import Run
from m3eval.stages.evaluate import Evaluated, judge

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "Comparison",
    "EvaluatedSystem",
    "Evaluation",
    "UserError",
    "compare",
    "evaluate",
    "load_run",
]


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


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` found. Shown as tables in a notebook."""

    tests: pairwise.PairedTests
    notes: list[str]  # what a reader must know of runs that others made, a sentence each

    @property
    def scores(self) -> DataFrame:
        """Means over all judged queries x 100: a row per metric and system, a column per language
        (of several also their average).
        """
        by_metric = {
            metric: pd.DataFrame.from_dict(self.tests.scores(metric), orient="index")
            for metric in self.tests.metrics
        }
        return pd.concat(by_metric, names=["metric", "system"])

    @property
    def differences(self) -> DataFrame:
        """Every test, a row each: difference and interval x 100, p, p_holm, effect, queries won."""
        return pd.DataFrame(self.tests.facts())

    def table(self) -> str:
        """The tables as Markdown, as `m3eval compare` writes them."""
        return "\n\n".join([pairwise_tables.markdown(self.tests), *self.notes])

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        tables = [notebook.of_tests(self.tests, metric) for metric in self.tests.metrics]
        return "".join([*tables, notebook.lines(self.notes)])


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
    words = _words(given | dict(settings or {}))
    with _speaking(quiet):
        evaluated = cli.call(cli.find("run"), words)
    if evaluated is None:
        raise UserError("plan_only=true scores nothing: leave it out, or use `m3eval embed`.")
    return Evaluation(_asked_for(evaluated, compose(*words), languages))


def compare(
    systems: Mapping[str, EvaluatedSystem | Run],
    baseline: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Paired tests between systems, query by query, as `m3eval compare` makes them.

        ours = evaluate("demo", "e5_small_q4", languages=["ko"])
        compare(ours.systems, baseline="dense")
        compare({"dense": ours.systems["dense"], "theirs": load_run("theirs.trec")})

    Args:
        systems: two or more, by what tables are to call them: of evaluations, or runs that others
            made, which the first evaluation's judgements score (one language then).
        baseline: what the others are held against; None: the first.
        settings: of the tests, as in {"resamples": 20000, "alpha": 0.01, "all_pairs": True},
            {"accept": ["max_length"]}: docs/comparing.md.

    Returns:
        differences with p values (corrected by Holm), intervals and effect sizes.

    Raises:
        UserError: the systems differ in more than their encoders and retrievers, or share no
            metric, or a run of others has none of the queries.
    """
    ours = {
        label: system for label, system in systems.items() if isinstance(system, EvaluatedSystem)
    }
    if len(systems) < 2 or not ours:
        raise UserError(
            "compare needs two systems or more, one of them of an evaluation: compare("
            "evaluate(...).systems). Files alone: `m3eval evaluate run=[A,B] qrels=FILE`."
        )
    if baseline is not None and baseline not in systems:
        raise UserError(f"baseline={baseline} is none of the systems {', '.join(systems)}.")
    words = _words({"baseline": baseline, **(settings or {})})
    cfg = compose("benchmark=demo", "encoder=none", "retriever=bm25", *words, config="compare")
    first, *others = (system.evaluated for system in ours.values())
    languages, metrics = first.table.languages, first.table.metrics
    for other in others:
        if other.table.languages != languages:
            raise UserError(
                f"The systems were evaluated on {', '.join(languages)} and on "
                f"{', '.join(other.table.languages)}: evaluate them on the same languages."
            )
        metrics = [metric for metric in metrics if metric in other.table.metrics]
    if not metrics:
        raise UserError("The systems share no metric: evaluate them with the same metrics=.")
    accepted = _require_comparable(ours, languages, metrics, cfg.accept)
    per_query: dict[tuple[str, str], Scores] = {}
    notes: list[str] = []
    for label, system in systems.items():
        theirs = not isinstance(system, EvaluatedSystem)
        scores = _judged(label, system, first, notes) if theirs else system.per_query
        per_query |= {(label, language): scores[language] for language in languages}
    pairs = list(pairs_of(list(systems), baseline, cfg.all_pairs))
    tests = pairwise.PairedTests(
        title=first.table.title,
        metrics=metrics,
        languages=languages,
        systems=list(systems),
        baseline=None if cfg.all_pairs else pairs[0][1],
        per_query=per_query,
        results=compare_all(per_query, pairs, languages, [parse(name) for name in metrics], cfg),
        settings={name: cfg[name] for name in pairwise.SETTINGS},
        whole_texts=[
            label
            for label, system in ours.items()
            if system.retriever in system.evaluated.table.whole_texts
        ],
        notes=accepted,
        provenance={},
    )
    return Comparison(tests, notes)


def _words(settings: Mapping[str, Any]) -> list[str]:
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


def _require_comparable(
    ours: Mapping[str, EvaluatedSystem],
    languages: Sequence[str],
    metrics: Sequence[str],
    accept: list[str],
) -> list[str]:
    """The differences that the user accepts. Raises UserError where there are others."""
    deepest = max(parse(name).cutoff or math.inf for name in metrics)
    verdict = Comparable()
    for language in languages:
        runs = {
            label: system.evaluated.manifests[system.retriever, language]
            for label, system in ours.items()
        }
        verdict += all_alike(runs, deepest).within(language)
    verdict, accepted = verdict.accepting(accept)
    verdict.require(
        "These systems cannot be compared, for they differ in more than encoder and retriever",
        'Make them alike, or accept what differs by its name: settings={"accept": [...]}.',
    )
    return accepted


def _judged(label: str, run: Run, evaluated: Evaluated, notes: list[str]) -> dict[str, Scores]:
    """The scores of a run that others made, by an evaluation's judgements."""
    languages = evaluated.table.languages
    if len(languages) > 1:
        raise UserError(
            f"{label}: a run of others is of one language, the evaluation of {', '.join(languages)}"
            ": evaluate one of them, as in languages=[...]."
        )
    (task,) = (task for task in evaluated.setup.tasks if task.language == languages[0])
    if task.qrels is not None:
        notes += remarks(label, run, task.qrels)
    metrics = [parse(name) for name in evaluated.table.metrics]
    return {task.language: judge(evaluated.setup, task, [(label, run)], metrics)[label]}
