"""Hybrid weights that were tuned on one split, used on another: `retriever.NAME.weights_from=FILE`.

`m3eval.tune` writes the file. Its weights take the place of the configured ones, and what they were tuned on becomes part of
the retriever's settings, so every run tells. Judged queries that the weights have seen are never reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, open_dict

from m3eval.benchmarks.task import Task
from m3eval.errors import UserError
from m3eval.files import digest


def apply(cfg: DictConfig) -> None:
    """Fills in the weights of every retriever that takes them from a file; `weights_from` itself goes.

    Raises:
        UserError: the file is none that `m3eval.tune` wrote, is of another retriever, or was tuned on this very split.
    """
    for name, node in cfg.retriever.items():
        if "weights_from" not in node:
            continue
        with open_dict(node):
            path = node.pop("weights_from")
            if path is None:
                continue
            tuned = read(Path(path))
            if tuned["retriever"] != name:
                raise UserError(
                    f"retriever.{name}.weights_from={path}: its weights are {tuned['retriever']}'s."
                )
            on = tuned["tuned_on"]
            if (on["benchmark"], on["split"]) == (cfg.benchmark.name, cfg.benchmark.split):
                raise UserError(
                    f"retriever.{name}.weights_from={path}: these weights were tuned on {on['benchmark']} {on['split']}, which "
                    "is what is configured. A score on the queries that chose the weights says nothing about others: tune on "
                    "another split (train, dev), under another benchmark.name=."
                )
            node.weights = tuned["weights"]
            node.tuned_on = on


def read(path: Path) -> dict[str, Any]:
    """What `m3eval.tune` wrote. Raises UserError where that is not what the file is."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if {*found} >= {"retriever", "weights", "tuned_on"} and {*found["tuned_on"]} >= {
            "benchmark",
            "split",
            "judged",
        }:
            return found
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise UserError(
            f"The weights {path} cannot be read ({type(error).__name__}: {error})."
        ) from error
    raise UserError(
        f"{path} does not say on what its weights were tuned: write it with python -m m3eval.tune."
    )


def judged_queries(task: Task) -> str:
    """Hex digest of ids and texts of a language's judged queries: the same under any name of benchmark and split."""
    texts = {query.qid: query.text for query in task.queries}
    return digest({qid: texts.get(qid) for qid in task.judged})


def refuse_seen(manifest: Mapping[str, Any], task: Task) -> None:
    """Raises UserError where a run, or one it builds on, has weights that were tuned on this task's judged queries."""
    on = manifest["settings"].get("tuned_on")
    if on and judged_queries(task) in on["judged"].values():
        raise UserError(
            f"{task.language}: the weights of {manifest['retriever']} were tuned on these very queries ({on['benchmark']} "
            f"{on['split']}, under whatever name they go now): tune them on another split."
        )
    for made_from in manifest["inputs"].values():
        refuse_seen(made_from, task)
