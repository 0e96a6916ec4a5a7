"""Which weights should a hybrid have? A grid over scores of stage 1, on a split not reported.

    m3eval embed   benchmark.split=train benchmark.name=miracl_train languages=[ko,sw]
    m3eval search  benchmark.split=train benchmark.name=miracl_train languages=[ko,sw]
    m3eval tune    benchmark.split=train benchmark.name=miracl_train languages=[ko,sw] hybrid=all
    m3eval search  languages=[ko,sw] retriever.all.weights_from=weights/miracl_train/bge_m3/all.yaml

Nothing is searched again: the documents' raw scores are weighed anew, exactly as stage 1 would.
Where no weights are better than those configured, these stay. Stages refuse weights that were tuned
on any query they report.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from omegaconf import OmegaConf

from m3eval.benchmarks.task import Task
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import whole_file
from m3eval.metrics import significance
from m3eval.metrics.judge import judge
from m3eval.metrics.means import points
from m3eval.metrics.names import Metric
from m3eval.retrievers import hybrid, retriever
from m3eval.retrievers import scores as maths
from m3eval.retrievers.finished import read_components, read_run
from m3eval.retrievers.run import Run, ranked
from m3eval.stages.evaluate import judgements
from m3eval.stages.trust import trusted_manifest
from m3eval.tuned import judged_queries

SHOWN = 5
TIE = 100 * significance.TIE  # scores x 100 that are nearer are equal
Weights = dict[str, float]  # component -> its weight


class Fusible(NamedTuple):
    """The documents that a hybrid could rank for one query."""

    docids: list[str]
    scores: dict[str, np.ndarray]  # component -> [n] float32 raw scores


class GridPoint(NamedTuple):
    """Weights of the grid, and how good the hybrid is with them."""

    weights: Weights
    score: float  # x 100: the mean of the languages' means

    def __str__(self) -> str:
        words = " + ".join(f"{value:g} {name}" for name, value in self.weights.items())
        return f"{self.score:7.3f}  {words}"

    def record(self) -> dict[str, Any]:
        """As the file has it."""
        return {"weights": self.weights, "score": round(self.score, 4)}


def run(setup: Setup) -> None:
    """Search a grid of hybrid weights"""
    name, metric = setup.cfg.hybrid, setup.metrics[0]
    if name not in setup.cfg.retriever or "weights" not in setup.cfg.retriever[name]:
        raise UserError(
            f"hybrid={name}: choose a retriever that has weights and is configured, as in "
            f"retriever=[...,{name}]."
        )
    configured = {key: float(value) for key, value in setup.cfg.retriever[name].weights.items()}
    grid: Any = OmegaConf.to_container(setup.cfg.grid) if setup.cfg.grid else None
    tried = list(combinations(list(configured), setup.cfg.step, grid))
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"hybrid     {name}: {len(tried):,} combinations of {', '.join(configured)}, by {metric}")
    fusible = together([lambda task=task: candidates(setup, name, task) for task in setup.tasks])
    by_language = [
        mean_scores(setup, task, documents, [*tried, configured], metric)
        for task, documents in zip(setup.tasks, fusible, strict=True)
    ]
    means = [float(np.mean(scores)) for scores in zip(*by_language, strict=True)]
    *tuned, untuned = map(GridPoint, [*tried, configured], means)
    order = sorted(tuned, key=lambda point: -point.score)  # of equals the first of the grid
    best = order[0] if order[0].score > untuned.score + TIE else untuned
    path = write(setup, metric, best, untuned, tuned)
    for point in order[:SHOWN]:
        say(f"  {point}")
    say(f"  {untuned}, as configured")
    if best is untuned:
        say("  none is better than the weights as configured: these are kept")
    say(f"  written  {path}")


def write(
    setup: Setup, metric: Metric, best: GridPoint, untuned: GridPoint, points: Sequence[GridPoint]
) -> Path:
    """Writes the file that `retriever.NAME.weights_from` names; returns its path."""
    name, path = setup.cfg.hybrid, Path(setup.cfg.weights_file)
    content = {
        "retriever": name,
        "weights": dict(best.weights),  # a copy: YAML would write a reference to the same mapping
        "tuned_on": {
            "benchmark": setup.cfg.benchmark.name,
            "split": setup.cfg.benchmark.split,
            "encoder": setup.cfg.encoder.name,
            "metric": str(metric),
            "score": round(best.score, 4),
            "languages": setup.languages,
            "queries": sorted(
                {query for task in setup.tasks for query in judged_queries(task).values()}
            ),
        },
        "as_configured": untuned.record(),
        "grid": [point.record() for point in points],
    }
    head = f"# Written by m3eval tune; to use: retriever.{name}.weights_from={path}\n"
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=128)
    with whole_file(path) as part:
        part.write_text(head + text, encoding="utf-8")
    return path


def combinations(
    names: list[str], step: float, grid: Mapping[str, list[float]] | None
) -> Iterator[Weights]:
    """The weights to try: every combination of a given grid, or all that sum to 1 in steps.

    Only the ratio of weights decides an order, so those that sum to 1 are all there are.

    Args:
        names: the components.
        step: of weights that sum to 1.
        grid: a list of weights for each component; None: steps.

    Raises:
        UserError: the grid is of other components, or the step does not divide 1.
    """
    if grid is not None:
        if {*grid} != {*names}:
            raise UserError(
                f"grid={dict(grid)}: give a list of weights for each of {', '.join(names)}."
            )
        for values in itertools.product(*(grid[name] for name in names)):
            if any(values):  # without any weight all documents would be alike
                yield dict(zip(names, map(float, values), strict=True))
        return
    n = round(1 / step) if step > 0 else 0
    if not n or abs(n * step - 1) > 1e-9:
        raise UserError(f"step={step}: must divide 1, as 0.1 and 0.05 do.")
    for parts in itertools.product(range(n + 1), repeat=len(names)):
        if sum(parts) == n:
            yield dict(zip(names, (part / n for part in parts), strict=True))


def candidates(setup: Setup, name: str, task: Task) -> dict[str, Fusible]:
    """By qid, all documents that a hybrid could rank, whatever its weights, with raw scores.

    A union is made from the runs it unites, for its own list was cut by the old weights. Where
    lexical scores were computed for each pair, the component file is all there is, and complete.

    Raises:
        UserError: a run is missing or made otherwise, or the hybrid's list was cut.
    """
    node = setup.cfg.retriever[name]
    if retriever.find(node._target_) is hybrid.union:
        return _of_runs(setup, retriever.inputs(node), task)
    manifest = trusted_manifest(setup, name, task)
    files, depth = setup.layout.run(name, task.language), manifest.settings.depth
    # The run whose documents are scored again is the one that builds on another.
    reranked = [run for run in manifest.inputs.values() if run.inputs]
    if any(run.settings.depth > depth for run in reranked):
        raise UserError(
            f"{files.components} holds {depth} documents of more: set retriever.{name}.depth "
            "higher."
        )
    return {qid: Fusible(*of_query) for qid, of_query in read_components(files).items()}


def _of_runs(setup: Setup, names: Sequence[str], task: Task) -> dict[str, Fusible]:
    together([lambda name=name: trusted_manifest(setup, name, task) for name in names])
    qids = [query.qid for query in task.queries]
    runs = {name: read_run(setup.layout.run(name, task.language), qids) for name in names}
    return {qid: Fusible(*hybrid.united(runs, qid)) for qid in qids}


def fused(documents: Mapping[str, Fusible], weights: Weights) -> Run:
    """The run that these weights give, uncut."""
    return {
        qid: ranked(docids, maths.weighted_sum(scores, weights), len(docids))
        for qid, (docids, scores) in documents.items()
    }


def mean_scores(
    setup: Setup,
    task: Task,
    documents: Mapping[str, Fusible],
    tried: Sequence[Weights],
    metric: Metric,
) -> list[float]:
    """For each of the weights in turn, the mean over a language's judged queries, x 100.

    Raises:
        UserError: no query counts.
    """
    runs = (fused(documents, weights) for weights in tried)
    per_query = judge(runs, judgements(setup, task), [metric])
    means = [points(scores[str(metric)]) for scores in per_query]
    known = [mean for mean in means if mean is not None]
    if len(known) < len(means):
        raise UserError(
            f"{task.language}: no question counts, for no document was found: weights make no "
            "difference. Leave the language out, or run `m3eval search` again."
        )
    return known
