"""Is one system better than another? Paired tests over the runs of stage 1, corrected for how many comparisons there are.

    python -m m3eval.compare experiment=demo systems=[dense,multi_vector,all] baseline=dense
    python -m m3eval.compare languages=[ko,fa] systems=[bge_m3/dense,mine/dense] all_pairs=true

A system is an encoder with a retriever. Runs of other texts, lengths, depths or splits are refused with the list of
differences. Writes tables as Markdown, LaTeX, CSV and JSON: beside the encoder's runs or, of several encoders, beside their
folders. `--help` lists the settings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from omegaconf import DictConfig, OmegaConf

from m3eval.benchmarks.task import Task
from m3eval.config import NO_ENCODER_FOLDER, Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import digest
from m3eval.metrics import significance
from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores
from m3eval.provenance import versions
from m3eval.reference.published import AVERAGE, in_published_order
from m3eval.reports import pairwise
from m3eval.retrievers.run import read_run
from m3eval.stages.evaluate import judge, read_manifest, require_settings, text_differences, uncut
from m3eval.stores.writer import differences
from m3eval.tuned import refuse_seen


class System(NamedTuple):
    """An encoder with a retriever, by its runs."""

    label: str  # as the user wrote it
    retriever: str
    folder: Path  # has {language}.trec
    elsewhere: bool  # given as a folder: its settings need not be those configured

    def run(self, language: str) -> Path:
        """TREC file of a run."""
        return self.folder / f"{language}.trec"


def run(setup: Setup) -> None:
    """Compare systems over their runs, with paired tests"""
    cfg = setup.cfg
    found = systems(setup)
    check_statistics(cfg)
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"systems    {', '.join(system.label for system in found)}")
    manifests, notes = comparable(setup, found)
    per_query: dict[tuple[str, str], Scores] = {}
    for task in setup.tasks:
        runs = ((system.label, read_run(system.run(task.language))) for system in found)
        per_query |= {
            (label, task.language): scores for label, scores in judge(setup, task, runs).items()
        }
    order = in_published_order(
        cfg.benchmark.get("reference"), setup.languages, setup.benchmark.languages
    )
    pairs = list(pairs_of(found, cfg.baseline, cfg.all_pairs))
    report = pairwise.Report(
        title=setup.title,
        metrics=[str(metric) for metric in setup.metrics],
        languages=order,
        systems=[system.label for system in found],
        baseline=None if cfg.all_pairs else pairs[0][1],
        per_query=per_query,
        results=compare_all(per_query, pairs, order, setup.metrics, cfg),
        settings={name: cfg[name] for name in ("test", "resamples", "confidence", "alpha", "seed")},
        uncut=[system.label for system in found if uncut(manifests[system.label, order[0]])],
        notes=notes,
        provenance={
            "config": OmegaConf.to_container(cfg, resolve=True),
            **condensed(
                {
                    f"{label}/{language}": manifest
                    for (label, language), manifest in manifests.items()
                }
            ),
            "compared_with": versions(setup.runtime),
        },
    )
    pairwise.show(report)
    alone = all(system.elsewhere or system.folder.is_relative_to(setup.folder) for system in found)
    for path in pairwise.write(
        report, (setup.folder if alone else setup.folder.parent) / "comparison"
    ):
        say(f"  written  {path}")


def systems(setup: Setup) -> list[System]:
    """The systems asked for, by default every retriever configured.

    Raises:
        UserError: fewer than two, the same twice, or a baseline that is none of them.
    """
    words = list(setup.cfg.systems or setup.cfg.retriever)
    if len(words) < 2 or len(set(words)) < len(words):
        raise UserError(
            f"systems=[{','.join(words)}]: give two or more different ones, as in systems=[dense,all]."
        )
    if setup.cfg.baseline is not None and setup.cfg.baseline not in words:
        raise UserError(f"baseline={setup.cfg.baseline} is none of the systems {', '.join(words)}.")
    return [_system(setup, word) for word in words]


def _system(setup: Setup, word: str) -> System:
    encoder, _, retriever = word.rpartition("/")
    if "/" in encoder:
        return System(word, retriever, Path(word), True)
    folder = setup.folder.parent / (encoder or setup.cfg.encoder.name) / "runs" / retriever
    without = setup.folder.parent / NO_ENCODER_FOLDER / "runs" / retriever
    if not encoder and not folder.is_dir() and without.is_dir():
        folder = without  # a run that no encoder took part in
    return System(word, retriever, folder, False)


def check_statistics(cfg: DictConfig) -> None:
    """Raises UserError where a setting of the tests is out of range."""
    if cfg.test not in get_args(significance.Test):
        raise UserError(f"test={cfg.test}: choose among {', '.join(get_args(significance.Test))}.")
    for name in ("alpha", "confidence"):
        if not 0 < cfg[name] < 1:
            raise UserError(f"{name}={cfg[name]}: must lie between 0 and 1.")
    if cfg.resamples < 1000:
        raise UserError(f"resamples={cfg.resamples}: at least 1000 are needed.")


def comparable(
    setup: Setup, found: list[System]
) -> tuple[dict[tuple[str, str], dict[str, Any]], list[str]]:
    """The manifests of all runs by system and language, and the differences that the user accepts.

    Raises:
        UserError: a run is missing, is not of the texts configured, or differs from the first system's in what must agree.
    """
    cells = [(system, task) for task in setup.tasks for system in found]
    read = together(
        [lambda system=system, task=task: _manifest(setup, system, task) for system, task in cells]
    )
    manifests = {
        (s.label, task.language): manifest for (s, task), manifest in zip(cells, read, strict=True)
    }
    accepted: dict[str, None] = {}
    refused: dict[str, None] = {}
    for task in setup.tasks:
        one, *others = found
        first = manifests[one.label, task.language]
        lines = text_differences(setup, task, first, (f"in {one.label}", "configured"))
        for other in others:
            words = (f"in {one.label}", f"in {other.label}")
            lines += obstacles(first, manifests[other.label, task.language], setup.metrics, words)
        for line in lines:
            name = line.partition(":")[0].rpartition(".")[2]
            (accepted if name in setup.cfg.accept else refused)[f"{task.language}: {line}"] = None
    if refused:
        raise UserError(
            "These runs cannot be compared, for not only the systems differ:\n  "
            + "\n  ".join(refused)
            + "\nMake them alike, or accept what differs by its name, as in accept=[max_length]; tables will repeat it."
        )
    return manifests, list(accepted)


def _manifest(setup: Setup, system: System, task: Task) -> dict[str, Any]:
    path = system.run(task.language)
    manifest = read_manifest(path)
    refuse_seen(manifest, task)
    if system.retriever in setup.cfg.retriever and not system.elsewhere:
        require_settings(setup, system.retriever, manifest, path)
    return manifest


def condensed(manifests: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Manifests of runs by name, with what many of them share said once: texts and encoders, by their digest."""
    texts: dict[str, Any] = {}
    encoders: dict[str, Any] = {}

    def named(content: Any, known: dict[str, Any]) -> str:
        name = digest(content)[:12]
        known[name] = content
        return name

    def brief(manifest: dict[str, Any]) -> dict[str, Any]:
        return manifest | {
            "texts": {name: named(content, texts) for name, content in manifest["texts"].items()},
            "encoder": manifest["encoder"] and named(manifest["encoder"], encoders),
            "inputs": {name: brief(run) for name, run in manifest["inputs"].items()},
        }

    return {
        "runs": {name: brief(manifest) for name, manifest in manifests.items()},
        "texts": texts,
        "encoders": encoders,
    }


def obstacles(
    one: Mapping[str, Any], other: Mapping[str, Any], metrics: list[Metric], words: tuple[str, str]
) -> list[str]:
    """In what two runs of one language differ besides their systems: texts, own documents, depths.

    Depths of one kind of retriever must agree, also of what it builds on. Kinds that search to different depths by the
    benchmark's protocol are compared as far as the shallower one goes.
    """
    lines = differences(one["texts"], other["texts"], where="texts", words=words)
    ours, theirs = one["settings"], other["settings"]
    same_kind = ours["_target_"] == theirs["_target_"]
    deepest = max((metric.cutoff or float("inf") for metric in metrics), default=0)
    lines += differences(
        ours["exclude_self"], theirs["exclude_self"], where="exclude_self", words=words
    )
    if same_kind or deepest > min(ours["depth"], theirs["depth"]):
        lines += differences(ours["depth"], theirs["depth"], where="depth", words=words)
    if same_kind:
        for name in sorted({*one["inputs"]} & {*other["inputs"]}):
            depths = [run["inputs"][name]["settings"]["depth"] for run in (one, other)]
            lines += differences(*depths, where=f"inputs.{name}.depth", words=words)
    return lines


def pairs_of(
    found: list[System], baseline: str | None, all_pairs: bool
) -> Iterator[tuple[str, str]]:
    """System and what it is held against."""
    labels = [system.label for system in found]
    if all_pairs:
        yield from ((other, one) for one, other in itertools.combinations(labels, 2))
    else:
        against = baseline or labels[0]
        yield from ((label, against) for label in labels if label != against)


def compare_all(
    per_query: Mapping[tuple[str, str], Scores],
    pairs: list[tuple[str, str]],
    languages: list[str],
    metrics: list[Metric],
    cfg: DictConfig,
) -> list[pairwise.Result]:
    """Every pair in every language and over all of them; a metric's tests are one family for Holm's correction.

    Raises:
        UserError: a test of that many resamples could call nothing in such a family significant.
    """
    size = len(pairs) * (len(languages) + (len(languages) > 1))
    if cfg.test == "permutation" and 2 * size / (cfg.resamples + 1) >= cfg.alpha:
        raise UserError(
            f"resamples={cfg.resamples} give no p below {2 / (cfg.resamples + 1):.2g}; corrected for {size} comparisons none "
            f"could be below alpha={cfg.alpha:g}. Set resamples={math.ceil(4 * size / cfg.alpha / 1000) * 1000} or more."
        )
    results = []
    for metric in map(str, metrics):
        family = []
        for one, other in pairs:
            parts = {lang: _differences(per_query, one, other, lang, metric) for lang in languages}
            columns = {lang: [d] for lang, d in parts.items()} | (
                {AVERAGE: [*parts.values()]} if len(parts) > 1 else {}
            )
            for column, differ in columns.items():
                family.append(
                    (
                        one,
                        other,
                        column,
                        significance.paired(
                            differ, cfg.test, cfg.resamples, cfg.confidence, cfg.seed
                        ),
                    )
                )
        corrected = significance.holm([found.p for *_, found in family])
        results += [
            pairwise.Result(metric, *row, p) for row, p in zip(family, corrected, strict=True)
        ]
    return results


def _differences(
    per_query: Mapping[tuple[str, str], Scores], one: str, other: str, language: str, metric: str
) -> Any:
    try:
        return significance.differences(
            per_query[one, language][metric], per_query[other, language][metric]
        )
    except ValueError:
        raise UserError(
            f"{language}: {one} and {other} are scored over different queries (benchmark.mkqa_denominator=run leaves out "
            "others for each run): a paired test needs the same, so set it to all."
        ) from None
