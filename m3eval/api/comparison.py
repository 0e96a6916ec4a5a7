"""Paired tests from Python, between evaluations and runs of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m3eval.commands.compare import compare_all, pairs_of
from m3eval.commands.judged import remarks
from m3eval.comparable import Comparable, all_alike
from m3eval.config import compose
from m3eval.errors import UserError
from m3eval.lazy import pandas as pd
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import Scores
from m3eval.reports import notebook, pairwise, pairwise_tables
from m3eval.retrievers.run import Run
from m3eval.stages.evaluate import Evaluated, judge

if TYPE_CHECKING:
    from pandas import DataFrame

from m3eval.api.evaluation import EvaluatedSystem, words_of


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
    words = words_of({"baseline": baseline, **(settings or {})})
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
        approximate={
            label: said
            for label, system in ours.items()
            if (said := system.evaluated.table.approximate.get(system.retriever))
        },
        provenance={},
    )
    return Comparison(tests, notes)


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
