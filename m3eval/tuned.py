"""Hybrid weights that were tuned on one split, used on another: `retriever.NAME.weights_from=FILE`.

`m3eval tune` writes the file. Its weights take the place of the configured ones, and what they were
tuned on becomes part of the retriever's settings, so every run says it. Scores of queries that
chose the weights are never reported: a query is known by its text, whatever its id and the name of
its benchmark.
"""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import yaml
from omegaconf import DictConfig, open_dict

from m3eval.benchmarks.task import Task
from m3eval.errors import UserError
from m3eval.manifests import RetrieverSettings, RunManifest
from m3eval.oserrors import pass_on
from m3eval.quoting import escaped

DIGITS = 16  # hexadecimal, of a query's digest: two of a million share one in 3 of 100 million


class TunedOn(msgspec.Struct):
    """The queries that chose the weights."""

    benchmark: str
    split: str
    queries: list[str] | None = None  # see `seen_queries`; None: written by an early version
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
            if on.queries is None:
                raise UserError(
                    f"retriever.{name}.weights_from={path}: an early version of m3eval wrote it, "
                    "and it does not say which queries it has seen: run `m3eval tune` again."
                )
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
        pass_on(error)
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


def query_digest(text: str) -> str:
    """What a query is known by: its text, whatever its case, white space and Unicode form."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return hashlib.sha256(" ".join(plain.split()).encode()).hexdigest()[:DIGITS]


def judged_queries(task: Task) -> dict[str, str]:
    """By qid, the digests of a language's judged queries, which its scores are means over.

    An empty text is nobody's query.
    """
    texts = {query.qid: query.text for query in task.queries}
    return {qid: query_digest(text) for qid in task.judged if (text := texts.get(qid, "").strip())}


def refuse_seen(retriever: str, settings: RetrieverSettings, task: Task) -> None:
    """Refuses weights that were tuned on any query of which a score would be reported.

    Raises:
        UserError: says how many were seen, names one, and what the weights were tuned on.
    """
    on = settings.tuned_on
    if not on:
        return
    if on.get("queries") is None:
        raise UserError(
            f"{task.language}: the weights of {retriever} do not say which queries they were tuned "
            "on: run `m3eval tune` again, and then `m3eval search`."
        )
    reported, known = judged_queries(task), {*on["queries"]}
    if seen := [qid for qid, query in reported.items() if query in known]:
        raise UserError(
            f"{task.language}: {len(seen):,} of {len(task.judged):,} reported queries were seen in "
            f"tuning the weights of {retriever} ({on['benchmark']} {on['split']}), for example "
            f"{seen[0]}; texts count, not ids: tune on queries that are not reported."
        )


def refuse_seen_by(manifest: RunManifest, task: Task) -> None:
    """Refuses a run with such weights, and one that builds on such a run; see `refuse_seen`."""
    refuse_seen(manifest.retriever, manifest.settings, task)
    for run in manifest.inputs.values():
        refuse_seen_by(run, task)
