"""Which weights should a hybrid have? A grid over the scores that stage 1 stored, on a split that is not reported.

    python step0_embed.py  benchmark.split=train benchmark.name=miracl_train languages=[ko,sw]     then step1_search.py
    python -m m3eval.tune  benchmark.split=train benchmark.name=miracl_train languages=[ko,sw] hybrid=all
    python step1_search.py languages=[ko,sw] retriever.all.weights_from=weights/miracl_train/bge_m3/all.yaml

Nothing is searched again: documents' raw scores are weighed anew, exactly as stage 1 would. Stages refuse weights that were
tuned on the queries they report. `--help` lists the settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from m3eval.benchmarks.task import Task
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import whole_file
from m3eval.manifests import RunManifest
from m3eval.retrievers import hybrid
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, ranked, read_run
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import trusted_manifest
from m3eval.tuned import judged_queries

SHOWN = 5
Weights = dict[str, float]


class Candidates(NamedTuple):
    """The documents that a hybrid could rank for one query."""

    docids: list[str]
    parts: dict[str, np.ndarray]  # component -> [n] float32 raw scores


def run(setup: Setup) -> None:
    """Search a grid of hybrid weights"""
    name, metric = setup.cfg.hybrid, setup.metrics[0]
    if name not in setup.cfg.retriever or "weights" not in setup.cfg.retriever[name]:
        raise UserError(
            f"hybrid={name}: choose a retriever that has weights and is configured, as in retriever=[...,{name}]."
        )
    node = setup.cfg.retriever[name]
    configured: Weights = {key: float(value) for key, value in node.weights.items()}
    grid = list(
        combinations(
            list(configured),
            setup.cfg.step,
            OmegaConf.to_container(setup.cfg.grid) if setup.cfg.grid else None,
        )
    )
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"hybrid     {name}: {len(grid):,} combinations of {', '.join(configured)}, by {metric}")
    found = together([lambda task=task: candidates(setup, name, task) for task in setup.tasks])
    by_language = [
        {
            key: np.mean([*scores[str(metric)].values()])
            for key, scores in scored(setup, task, one, [*grid, configured]).items()
        }
        for task, one in zip(setup.tasks, found, strict=True)
    ]
    means = [
        100 * float(np.mean([scores[str(i)] for scores in by_language]))
        for i in range(len(grid) + 1)
    ]
    *tried, untuned = means
    order = sorted(range(len(grid)), key=lambda i: -tried[i])  # of equals the first of the grid
    for i in order[:SHOWN]:
        say(f"  {tried[i]:7.3f}  {_words(grid[i])}")
    say(f"  {untuned:7.3f}  {_words(configured)}, as configured")
    path = Path(setup.cfg.weights_file)
    content = {
        "retriever": name,
        "weights": dict(grid[order[0]]),
        "tuned_on": {
            "benchmark": setup.cfg.benchmark.name,
            "split": setup.cfg.benchmark.split,
            "encoder": setup.cfg.encoder.name,
            "metric": str(metric),
            "score": round(tried[order[0]], 4),
            "judged": {task.language: judged_queries(task) for task in setup.tasks},
        },
        "as_configured": {"weights": configured, "score": round(untuned, 4)},
        "grid": [
            {"weights": weights, "score": round(score, 4)}
            for weights, score in zip(grid, tried, strict=True)
        ],
    }
    with whole_file(path) as part:
        head = f"# Written by python -m m3eval.tune; to use: retriever.{name}.weights_from={path}\n"
        part.write_text(
            head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=128),
            encoding="utf-8",
        )
    say(f"  written  {path}")


def combinations(
    names: list[str], step: float, grid: Mapping[str, list[float]] | None
) -> Iterator[Weights]:
    """The weights to try: every combination of a given grid, or all that sum to 1 in steps.

    Only the ratio of weights decides an order, so those that sum to 1 are all there are.

    Raises:
        UserError: the grid is of other components, or the step does not divide 1.
    """
    if grid is not None:
        if {*grid} != {*names}:
            raise UserError(
                f"grid={dict(grid)}: give a list of weights for each of {', '.join(names)}."
            )
        yield from (
            dict(zip(names, map(float, values), strict=True))
            for values in itertools.product(*(grid[n] for n in names))
        )
        return
    n = round(1 / step) if step > 0 else 0
    if not n or abs(n * step - 1) > 1e-9:
        raise UserError(f"step={step}: must divide 1, as 0.1 and 0.05 do.")
    for values in itertools.product(range(n + 1), repeat=len(names)):
        if sum(values) == n:
            yield dict(zip(names, (value / n for value in values), strict=True))


def candidates(setup: Setup, name: str, task: Task) -> dict[str, Candidates]:
    """By qid, all documents that the hybrid could rank, whatever its weights, with their raw scores.

    A union is made from the runs it unites, for its own list was cut by the old weights. Where lexical scores were computed
    for each pair, the component file is all there is, and complete.

    Raises:
        UserError: a run is missing or made otherwise, or the hybrid's list was cut.
    """
    node = setup.cfg.retriever[name]
    if get_object(node._target_) is hybrid.union:
        together(
            [lambda other=other: trusted_manifest(setup, other, task) for other in node.inputs]
        )
        qids = [query.qid for query in task.queries]
        runs = {
            other: read_run(setup.layout.run(other, task.language).trec, qids)
            for other in node.inputs
        }
        return {qid: Candidates(*hybrid.united(runs, qid)) for qid in qids}
    manifest = trusted_manifest(setup, name, task)
    path = setup.layout.run(name, task.language).trec.with_suffix(".components.tsv")
    if any(made_from.settings.depth > manifest.settings.depth for made_from in _reranked(manifest)):
        raise UserError(
            f"{path} holds {manifest.settings.depth} documents of more: set retriever.{name}.depth higher."
        )
    frame = pd.read_csv(
        path, sep="\t", dtype={"qid": str, "docid": str}, keep_default_na=False, quoting=3
    )
    names = list(node.weights)
    return {
        str(qid): Candidates(
            list(rows["docid"]), {part: rows[part].to_numpy(np.float32) for part in names}
        )
        for qid, rows in frame.groupby("qid", sort=False)
    }


def _reranked(manifest: RunManifest) -> list[RunManifest]:
    """The run whose documents a rescoring hybrid takes: of those it builds on, the one that builds on another."""
    return [made_from for made_from in manifest.inputs.values() if made_from.inputs]


def fused(found: Mapping[str, Candidates], weights: Weights) -> Run:
    """The run that these weights give, uncut."""
    return {
        qid: ranked(docids, maths.weighted_sum(parts, weights), len(docids))
        for qid, (docids, parts) in found.items()
    }


def scored(
    setup: Setup, task: Task, found: Mapping[str, Candidates], grid: list[Weights]
) -> dict[str, Any]:
    """The scores of every combination, by its number."""
    return judge(
        setup,
        task,
        ((str(i), fused(found, weights)) for i, weights in enumerate(grid)),
        setup.metrics[:1],
    )


def _words(weights: Weights) -> str:
    return " + ".join(f"{value:g} {name}" for name, value in weights.items())
