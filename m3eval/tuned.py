"""Hybrid weights that were tuned on one split, used on another: `retriever.NAME.weights_from=FILE`.

`m3eval tune` writes the file. Its weights take the place of the configured ones, and what they were
tuned on becomes part of the retriever's settings, so every run says it. Scores of queries that
chose the weights are never reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml
from omegaconf import DictConfig, open_dict

from m3eval.benchmarks.task import Task
from m3eval.errors import UserError
from m3eval.files import digest
from m3eval.manifests import RunManifest
from m3eval.quoting import escaped


class TunedOn(msgspec.Struct):
    """The queries that chose the weights."""

    benchmark: str
    split: str
    judged: dict[str, str]  # language -> digest of its judged queries
    encoder: str = ""
    metric: str = ""
    score: float | None = None  # x 100


class TunedWeights(msgspec.Struct):
    """What `m3eval tune` writes, as far as stages read it."""

    retriever: str
    weights: dict[str, float]
    tuned_on: TunedOn


def apply(cfg: DictConfig) -> None:
    """Fills in the weights of every retriever that takes them from a file; drops `weights_from`.

    Raises:
        UserError: `m3eval tune` did not write the file; its weights are another retriever's; or
            they were tuned on the split that is configured.
    """
    for name, node in cfg.retriever.items():
        if "weights_from" not in node:
            continue
        with open_dict(node):
            path = node.pop("weights_from")
            if path is None:
                continue
            content = read_weights(Path(path).expanduser())
            tuned = msgspec.convert(content, TunedWeights)
            if tuned.retriever != name:
                raise UserError(
                    f"retriever.{name}.weights_from={path}: its weights are {tuned.retriever}'s."
                )
            on = tuned.tuned_on
            if (on.benchmark, on.split) == (cfg.benchmark.name, cfg.benchmark.split):
                raise UserError(
                    f"retriever.{name}.weights_from={path}: these weights were tuned on "
                    f"{on.benchmark} {on.split}, which is what is configured. A score on the "
                    "queries that chose the weights says nothing about others: tune on another "
                    "split (train, dev), under another benchmark.name=."
                )
            node.weights = tuned.weights
            node.tuned_on = escaped(content["tuned_on"])


def read_weights(path: Path) -> dict[str, Any]:
    """What `m3eval tune` wrote. Raises UserError where the file is something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"The weights {path} cannot be read ({type(error).__name__}: {error})."
        ) from error
    try:
        msgspec.convert(content, TunedWeights)
    except ValueError as error:
        raise UserError(
            f"{path} does not say on what its weights were tuned ({error}): write it with "
            "`m3eval tune`."
        ) from error
    return content


def judged_queries(task: Task) -> str:
    """Hex digest of ids and texts of a language's judged queries: the same under any name."""
    texts = {query.qid: query.text for query in task.queries}
    return digest({qid: texts.get(qid) for qid in task.judged})


def refuse_seen(manifest: RunManifest, task: Task) -> None:
    """Refuses a run whose weights were tuned on these very queries, or that builds on such a run.

    Raises:
        UserError: names the retriever and what its weights were tuned on.
    """
    on = manifest.settings.tuned_on
    if on and judged_queries(task) in on["judged"].values():
        raise UserError(
            f"{task.language}: the weights of {manifest.retriever} were tuned on these very "
            f"queries ({on['benchmark']} {on['split']}, under whatever name they go now): tune "
            "them on another split."
        )
    for run in manifest.inputs.values():
        refuse_seen(run, task)
