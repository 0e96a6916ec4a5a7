"""Are the scores still those they were? A gate for continuous integration, over runs of stage 1.

Each score is ok, drift or wrong. Drift is shown: another machine or library may be the reason. A
wrong score shuts the gate, and so does a gain, because a gain that nobody can explain is a fault,
too. The first ten documents of queries show a change before scores do. The command ends with status
0; with 1 when the gate is shut; with 2 when the runs cannot be compared because texts, lengths,
depths, weights or the checkpoint are others.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from m3eval.benchmarks.task import Task
from m3eval.comparable import Comparable, Obstacle, differences
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.expected import Expected, JudgedLanguage, QueryResult, Tolerance, read_gate, write_gate
from m3eval.files import digest
from m3eval.manifests import RunManifest
from m3eval.metrics import analysis
from m3eval.provenance import versions
from m3eval.reference.published import AVERAGE
from m3eval.reports import verdicts
from m3eval.reports.verdicts import MovedQuery, ScoreVerdict
from m3eval.retrievers.run import Run, read_run
from m3eval.stages.evaluate import judge, one_encoder, trusted_manifests

TOP = 10
OVERLAP = f"top-{TOP} overlap"
PROTOCOL = ("depth", "weights", "exclude_self")  # settings of a retriever that must agree
WORDS = ("in the gate", "now")
FirstDocuments = dict[str, list[str]]  # qid -> docids, best first


def run(setup: Setup) -> None:
    """Hold runs against the scores they are expected to have"""
    path = Path(setup.cfg.gate.file).expanduser()
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"gate       {path}")
    now = measure(setup)
    if setup.cfg.gate.write:
        tolerance = first_tolerance(setup, now) | (read_gate(path)[1] if path.exists() else {})
        measured = {name: tolerance[name] for name in (*now.scores, OVERLAP)}
        for written in write_gate(path, now, measured):
            say(f"  written  {written}")
        return
    if not path.exists():
        raise UserError(
            f"There is no gate {path} yet: write it from runs that you trust, with gate.write=true."
        )
    expected, tolerance = read_gate(path)
    comparable(expected, now).require(
        f"The gate {path} is of something else than these runs",
        "If the change is meant, write the gate again with gate.write=true.",
    )
    cells = next(iter(expected.scores.values()))
    report = verdicts.GateReport(
        title=setup.title,
        rows=list(score_verdicts(expected, now, tolerance)),
        moved=moved_queries(expected, now),
        changed=[str(each) for each in made_otherwise(expected, now).obstacles],
        left_out=sum(map(len, cells.values())) - len(now.languages) * len(now.retrievers),
        strict=setup.cfg.gate.strict,
    )
    verdicts.show(report)
    for written in verdicts.write(report, setup.layout.gate):
        say(f"  written  {written}")
    if report.failed:
        sys.exit(1)


def measure(setup: Setup) -> Expected:
    """Scores and first documents of the configured runs; each run is read once.

    Raises:
        UserError: a run is missing, or was made otherwise than configured.
    """
    names = [str(name) for name in setup.cfg.retriever]
    manifests = trusted_manifests(setup)
    metrics = [str(metric) for metric in setup.metrics]
    scores: dict[str, Any] = {metric: {name: {} for name in names} for metric in metrics}
    queries: dict[tuple[str, str, str], QueryResult] = {}
    for task in setup.tasks:
        language = task.language
        first_documents: dict[str, FirstDocuments] = {}
        runs = _runs_noting_first_documents(setup, names, language, first_documents)
        for name, of_run in judge(setup, task, runs).items():
            for metric in metrics:
                mean = float(np.mean([*of_run[metric].values()]))
                scores[metric][name][language] = 100 * mean
            for qid in list(of_run[metrics[0]])[: setup.cfg.gate.queries]:
                points = {metric: 100 * of_run[metric][qid] for metric in metrics}
                docids = first_documents[name].get(qid, [])
                queries[name, language, qid] = QueryResult(points, docids)
    languages = {
        task.language: judged_language(task, manifests[names[0], task.language])
        for task in setup.tasks
    }
    first = setup.tasks[0].language
    return Expected(
        scores=scores,
        retrievers={name: protocol(manifests[name, first]) for name in names},
        encoder=one_encoder(setup, list(manifests.values())),
        made_with=versions(setup.runtime),
        languages=languages,
        queries=queries,
    )


def _runs_noting_first_documents(
    setup: Setup, names: Iterable[str], language: str, noted: dict[str, FirstDocuments]
) -> Iterator[tuple[str, Run]]:
    """Reads runs one after the other, and notes their first documents by retriever."""
    for name in names:
        run = read_run(setup.layout.run(name, language).trec)
        noted[name] = {qid: ranking.docids[:TOP] for qid, ranking in run.items()}
        yield name, run


def judged_language(task: Task, manifest: RunManifest) -> JudgedLanguage:
    """What the scores of a language are about."""
    judgements = task.qrels if task.qrels is not None else task.answers or {}
    content = {
        qid: judged if isinstance(judged, list) else dict(judged)
        for qid, judged in judgements.items()
    }
    return JudgedLanguage(len(task.judged), digest(content), dict(sorted(manifest.texts.items())))


def protocol(manifest: RunManifest) -> dict[str, Any]:
    """The settings of a run that must agree, and of those it builds on."""
    settings = {name: manifest.settings[name] for name in PROTOCOL if name in manifest.settings}
    inputs = {name: protocol(run) for name, run in manifest.inputs.items()}
    return settings | ({"inputs": inputs} if inputs else {})


def first_tolerance(setup: Setup, now: Expected) -> dict[str, Tolerance]:
    """What a gate that is written for the first time allows, by metric."""
    configured: Any = OmegaConf.to_container(setup.cfg.gate.tolerance)
    overlap = configured.pop("overlap")
    tolerance = {metric: Tolerance(**configured) for metric in now.scores}
    return tolerance | {OVERLAP: Tolerance(**(configured | {"wrong": overlap}))}


def comparable(expected: Expected, now: Expected) -> Comparable:
    """Whether a gate is about these texts, judgements, settings and this checkpoint.

    It may be about more languages and retrievers than there are now.
    """
    verdict = Comparable()
    for field in ("languages", "retrievers", "scores"):
        in_gate, measured = getattr(expected, field), getattr(now, field)
        for name in measured:
            where = f"{field}.{name}"
            if name not in in_gate:
                verdict += Comparable((Obstacle(name, f"{where}: not in the gate"),))
            elif field != "scores":
                differing = differences(in_gate[name], measured[name], where=where)
                verdict += Comparable.by(differing, WORDS)
    checkpoints = [
        {key: (each.encoder or {}).get(key) for key in ("name", "files")}
        for each in (expected, now)
    ]
    return Comparable.by(differences(*checkpoints, where="encoder"), WORDS) + verdict


def made_otherwise(expected: Expected, now: Expected) -> Comparable:
    """How the runs were made otherwise, in ways that forbid no comparison."""
    encoders = differences(expected.encoder, now.encoder, where="encoder")
    made_with = differences(expected.made_with, now.made_with, where="made_with")
    return Comparable.by(encoders + made_with, WORDS)


def score_verdicts(
    expected: Expected, now: Expected, tolerance: Mapping[str, Tolerance]
) -> Iterator[ScoreVerdict]:
    """Every score and overlap with its verdict.

    Averages are over the languages that are there now, on both sides.
    """
    tables = [
        (metric, name, expected.scores[metric][name], by_language)
        for metric, by_retriever in now.scores.items()
        for name, by_language in by_retriever.items()
    ]
    tables += [
        (OVERLAP, name, dict.fromkeys(by_language, 100.0), by_language)
        for name, by_language in overlaps(expected, now).items()
    ]
    for metric, name, before, after in tables:
        allowed = tolerance[metric]
        # The points that a mean loses when so many queries go from all to nothing.
        steps = {
            language: 100 * allowed.moved / now.languages[language].queries for language in after
        }
        cells = {
            language: (before[language], score, steps[language])
            for language, score in after.items()
        }
        if len(cells) > 1:  # the mean of languages that move independently moves less
            step = math.hypot(*steps.values()) / len(steps)
            mean_before = float(np.mean([before[language] for language in after]))
            cells[AVERAGE] = (mean_before, float(np.mean([*after.values()])), step)
        for language, (old, new, step) in cells.items():
            limit = max(allowed.wrong, step)
            # Scores are floats: 69.5 - 69.2 must not exceed 0.3 by a rounding error.
            off = abs(new - old) - 1e-9
            state = "wrong" if off > limit else "drift" if off > allowed.drift else "ok"
            yield ScoreVerdict(metric, name, language, old, new, limit, state)


def overlaps(expected: Expected, now: Expected) -> dict[str, dict[str, float]]:
    """Retriever -> language -> mean share x 100 of the first documents that were there before."""
    shares: dict[str, dict[str, list[float]]] = {}
    for (name, language, qid), after in now.queries.items():
        if before := expected.queries.get((name, language, qid)):
            share = 100 * analysis.overlap(before.docids, after.docids)
            shares.setdefault(name, {}).setdefault(language, []).append(share)
    return {
        name: {language: float(np.mean(values)) for language, values in by_language.items()}
        for name, by_language in shares.items()
    }


def moved_queries(expected: Expected, now: Expected) -> list[MovedQuery]:
    """The queries that changed: first those whose score moved most, then those whose lists did."""
    metric = next(iter(now.scores))
    moved = []
    for key, after in now.queries.items():
        before = expected.queries.get(key)
        if before is None:
            continue
        scores = before.scores[metric], after.scores[metric]
        if before.docids == after.docids and abs(scores[0] - scores[1]) < 0.01:
            continue
        share = analysis.overlap(before.docids, after.docids)
        moved.append(MovedQuery(*key, metric, *scores, share, before.docids, after.docids))
    return sorted(moved, key=lambda query: (-abs(query.now - query.expected), query.overlap))
