"""Is one system better than another? Paired tests over the runs of stage 1.

A system is an encoder with a retriever. p values are corrected for how many comparisons there are.
Runs of other texts, lengths, depths or splits are refused with the list of differences. Tables are
written beside the encoder's runs or, of several encoders, beside their folders.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf

from m3eval.benchmarks.task import Task
from m3eval.buckets import place
from m3eval.comparable import Comparable, all_alike
from m3eval.config import NO_ENCODER_FOLDER, Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import digest
from m3eval.kinds import is_name
from m3eval.layout import RunFiles
from m3eval.manifests import RunManifest
from m3eval.metrics import significance
from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores
from m3eval.provenance import versions
from m3eval.reading import approximate, in_int8, made_elsewhere
from m3eval.records import plain
from m3eval.reference.published import AVERAGE, in_published_order
from m3eval.reports import pairwise, pairwise_tables
from m3eval.retrievers.finished import read_run
from m3eval.retrievers.retriever import reading
from m3eval.secrets import masked_tree
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import manifest_of, of_configured_texts

Manifests = dict[tuple[str, str], RunManifest]  # by system and language


class System(NamedTuple):
    """An encoder with a retriever, by its runs."""

    label: str  # as the user wrote it
    retriever: str
    folder: Path  # has {language}.trec
    elsewhere: bool  # given as a folder, whose settings need not be those configured

    def run(self, language: str) -> RunFiles:
        """The files of a run."""
        return RunFiles(self.folder / f"{language}.trec")


def run(setup: Setup) -> None:
    """Compare systems over their runs, with paired tests"""
    cfg = setup.cfg
    systems = systems_asked_for(setup)
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"systems    {', '.join(system.label for system in systems)}")
    manifests, notes = comparable_manifests(setup, systems)
    per_query: dict[tuple[str, str], Scores] = {}
    for task in setup.tasks:
        qids = [query.qid for query in task.queries]
        runs = ((system.label, read_run(system.run(task.language), qids)) for system in systems)
        scores = judge(setup, task, runs)
        per_query |= {(label, task.language): of_run for label, of_run in scores.items()}
    reference = cfg.benchmark.get("reference")
    languages = in_published_order(reference, setup.languages, setup.benchmark.languages)
    labels = [system.label for system in systems]
    pairs = list(pairs_of(labels, cfg.baseline, cfg.all_pairs))
    tests = pairwise.PairedTests(
        title=setup.title,
        metrics=[str(metric) for metric in setup.metrics],
        languages=languages,
        systems=labels,
        baseline=None if cfg.all_pairs else pairs[0][1],
        per_query=per_query,
        results=compare_all(per_query, pairs, languages, setup.metrics, cfg),
        settings={name: cfg[name] for name in pairwise.SETTINGS},
        whole_texts=[
            system.label
            for system in systems
            if reading(
                manifests[system.label, languages[0]], setup.reading, setup.recorded_retriever
            ).whole_texts
            in ("yes", "partly")
        ],
        notes=notes,
        approximate=approximate(manifests),
        elsewhere=made_elsewhere(manifests),
        in_int8=in_int8(manifests),
        provenance={
            "config": masked_tree(OmegaConf.to_container(cfg, resolve=True)),
            **condensed(manifests),
            "compared_with": versions(setup.runtime),
        },
    )
    layout = setup.layout
    alone = all(each.elsewhere or each.folder.is_relative_to(layout.folder) for each in systems)
    files = layout.comparison if alone else layout.comparison_of_encoders
    written = pairwise_tables.write(tests, files)
    pairwise_tables.show(tests)
    for path in written:
        say(f"  written  {path}")


def systems_asked_for(setup: Setup) -> list[System]:
    """The systems of `systems=`, by default every retriever configured.

    Raises:
        UserError: there are fewer than two, a system is named twice, or the baseline is not one of
            them.
    """
    words = list(setup.cfg.systems or setup.cfg.retriever)
    if len(words) < 2 or len(set(words)) < len(words):
        raise UserError(
            f"systems=[{','.join(words)}]: give two or more different ones, as in "
            "systems=[dense,all]."
        )
    if setup.cfg.baseline is not None and setup.cfg.baseline not in words:
        raise UserError(f"baseline={setup.cfg.baseline} is none of the systems {', '.join(words)}.")
    return together([functools.partial(_system, setup, word) for word in words])


def _system(setup: Setup, word: str) -> System:
    encoder, _, retriever = word.rpartition("/")
    folder = place(word)
    if "/" in encoder and is_name(retriever) and folder.parent.name == "runs":
        return System(word, retriever, folder, True)
    if not is_name(retriever) or ("/" in word and not is_name(encoder)):
        raise UserError(
            f"systems: {word} is none: write RETRIEVER, ENCODER/RETRIEVER by the names of their "
            "folders, or a folder that ends with runs/RETRIEVER."
        )
    layout = setup.layout.beside(encoder) if encoder else setup.layout
    without = setup.layout.beside(NO_ENCODER_FOLDER)
    if not (layout.runs / retriever).is_dir() and (without.runs / retriever).is_dir():
        layout = without  # a run that no encoder took part in
    return System(word, retriever, layout.runs / retriever, False)


def comparable_manifests(setup: Setup, systems: list[System]) -> tuple[Manifests, list[str]]:
    """The manifests of all runs, and the differences between them that the user accepts.

    Raises:
        UserError: a run is missing, is not of the texts configured, or differs from the first
            system's in what must agree.
    """

    def manifest(system: System, task: Task) -> RunManifest:
        configured = system.retriever in setup.cfg.retriever and not system.elsewhere
        name = system.retriever if configured else None
        return manifest_of(setup, system.run(task.language), task, name)

    cells = [(system, task) for task in setup.tasks for system in systems]
    of_cells = together([functools.partial(manifest, system, task) for system, task in cells])
    keys = [(system.label, task.language) for system, task in cells]
    manifests: Manifests = dict(zip(keys, of_cells, strict=True))
    deepest = max((metric.cutoff or math.inf for metric in setup.metrics), default=0)
    verdict = Comparable()
    for task in setup.tasks:
        runs = {system.label: manifests[system.label, task.language] for system in systems}
        first = systems[0].label
        texts = of_configured_texts(setup, task, runs[first], (f"in {first}", "configured"))
        verdict += (texts + all_alike(runs, deepest)).within(task.language)
    verdict, accepted = verdict.accepting(setup.cfg.accept)
    verdict.require(
        "These runs cannot be compared, for not only the systems differ",
        "Make them alike, or accept what differs by its name, as in accept=[max_length]; tables "
        "will repeat it.",
    )
    return manifests, accepted


def condensed(manifests: Manifests) -> dict[str, dict[str, Any]]:
    """Manifests that name their texts and encoders by digest; these stand once, beside them."""
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

    runs = {
        f"{label}/{language}": brief(plain(manifest))
        for (label, language), manifest in manifests.items()
    }
    return {"runs": runs, "texts": texts, "encoders": encoders}


def pairs_of(
    labels: Sequence[str], baseline: str | None, all_pairs: bool
) -> Iterator[tuple[str, str]]:
    """Each system, by its label, and what it is held against."""
    if all_pairs:
        yield from ((later, earlier) for earlier, later in itertools.combinations(labels, 2))
    else:
        against = baseline or labels[0]
        yield from ((label, against) for label in labels if label != against)


def compare_all(
    per_query: Mapping[tuple[str, str], Scores],
    pairs: list[tuple[str, str]],
    languages: list[str],
    metrics: list[Metric],
    cfg: DictConfig,
) -> list[pairwise.PairResult]:
    """Every pair in every language and over all of them.

    All tests of a metric are one family for Holm's correction.

    Raises:
        UserError: a test of that many resamples could call nothing in such a family significant.
    """
    size = len(pairs) * (len(languages) + (len(languages) > 1))
    least = 2 / (cfg.resamples + 1)
    if cfg.test == "permutation" and least * size >= cfg.alpha:
        enough = math.ceil(4 * size / cfg.alpha / 1000) * 1000
        raise UserError(
            f"resamples={cfg.resamples} give no p below {least:.2g}; corrected for {size} "
            f"comparisons none could be below alpha={cfg.alpha:g}. Set resamples={enough} or more."
        )
    results = []
    for metric in map(str, metrics):
        family: list[pairwise.PairResult] = []
        for system, against in pairs:
            by_language = {
                language: _differences(per_query, system, against, language, metric)
                for language in languages
            }
            columns = {language: [values] for language, values in by_language.items()}
            if len(columns) > 1:
                columns[AVERAGE] = list(by_language.values())
            for column, values in columns.items():
                paired = significance.paired(
                    values, cfg.test, cfg.resamples, cfg.confidence, cfg.seed
                )
                pair = pairwise.PairResult(metric, system, against, column, paired, math.nan)
                family.append(pair)
        corrected = significance.holm([pair.paired.p for pair in family])
        results += [pair._replace(p_holm=p) for pair, p in zip(family, corrected, strict=True)]
    return results


def _differences(
    per_query: Mapping[tuple[str, str], Scores],
    system: str,
    against: str,
    language: str,
    metric: str,
) -> np.ndarray:
    scores, baseline = (per_query[label, language][metric] for label in (system, against))
    if not scores and not baseline:
        raise UserError(
            f"{language}: no question counts for {system} and {against}, for both runs found no "
            "document (benchmark.mkqa_denominator=run leaves such questions out): set it to all, "
            "or run `m3eval search` again."
        )
    try:
        return significance.paired_differences(scores, baseline)
    except ValueError:
        raise UserError(
            f"{language}: {system} and {against} are scored over different queries "
            "(benchmark.mkqa_denominator=run leaves out others for each run): a paired test needs "
            "the same, so set it to all."
        ) from None
