"""Are the scores still those they were? A gate for continuous integration, over runs of stage 1.

Each score is ok, drift or wrong. Drift is shown: another machine or library may be the reason. A
wrong score shuts the gate: a loss, a gain, because a gain that nobody can explain is a fault, too,
and a score that is there no longer. The first ten documents of queries show a change before scores
do. The command ends with status 0; with 1 when the gate is shut; with 2 when the runs cannot be
compared because texts, lengths, depths, weights or the checkpoint are others.
"""

from __future__ import annotations

import itertools
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
from m3eval.metrics.means import over_all, points
from m3eval.provenance import versions
from m3eval.reference.published import AVERAGE
from m3eval.reports import verdicts
from m3eval.reports.verdicts import MovedQuery, ScoreVerdict, State
from m3eval.retrievers.finished import read_run
from m3eval.retrievers.run import Run
from m3eval.stages.evaluate import judge, one_encoder
from m3eval.stages.trust import trusted_manifests

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
    verdicts.remove(setup.layout.gate)
    now = measure(setup)
    if setup.cfg.gate.write:
        whole(now)
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
        elsewhere=tuple(name for name, how in now.retrievers.items() if _is_foreign(how)),
        approximate=tuple(name for name, how in now.retrievers.items() if "approximate" in how),
    )
    files = verdicts.write(report, setup.layout.gate)
    verdicts.show(report)
    for written in files:
        say(f"  written  {written}")
    if report.failed:
        sys.exit(1)


def measure(setup: Setup) -> Expected:
    """Scores and first documents of the configured runs; each run is read once.

    A language whose run has no score, and a query that does not count, have none in what is
    returned.

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
        runs = _runs_noting_first_documents(setup, names, task, first_documents)
        for name, of_run in judge(setup, task, runs).items():
            for metric in metrics:
                if (mean := points(of_run[metric])) is not None:
                    scores[metric][name][language] = mean
            for qid in task.judged[: setup.cfg.gate.queries]:
                of_query = {
                    metric: 100 * of_run[metric][qid] for metric in metrics if qid in of_run[metric]
                }
                docids = first_documents[name].get(qid, [])
                queries[name, language, qid] = QueryResult(of_query, docids)
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
    setup: Setup, names: Iterable[str], task: Task, noted: dict[str, FirstDocuments]
) -> Iterator[tuple[str, Run]]:
    """Reads runs one after the other, and notes their first documents by retriever."""
    qids = [query.qid for query in task.queries]
    for name in names:
        run = read_run(setup.layout.run(name, task.language), qids)
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
    foreign = {"made_elsewhere": True} if manifest.foreign else {}
    found = {"approximate": True} if manifest.approximate else {}
    return settings | foreign | found | ({"inputs": inputs} if inputs else {})


def _is_foreign(how: Mapping[str, Any]) -> bool:
    """Whether a run, by its `protocol`, was made elsewhere or builds on one that was."""
    return "made_elsewhere" in how or any(map(_is_foreign, how.get("inputs", {}).values()))


def whole(now: Expected) -> None:
    """Refuses to expect what is not there.

    Raises:
        UserError: a language has no score.
    """
    if lacking := [
        f"{metric} {name} {language}"
        for metric, by_retriever in now.scores.items()
        for name, by_language in by_retriever.items()
        for language in now.languages
        if language not in by_language
    ]:
        raise UserError(
            f"These have no score, for their runs found no document: {', '.join(lacking)}. A gate "
            "needs one of each: run `m3eval search` again, or leave the language out."
        )


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
            elif field == "scores":
                verdict += _same_cells(in_gate[name], measured[name], now.languages, where)
            else:
                differing = differences(in_gate[name], measured[name], where=where)
                verdict += Comparable.by(differing, WORDS)
    checkpoints = [
        {key: (each.encoder or {}).get(key) for key in ("name", "files")}
        for each in (expected, now)
    ]
    return Comparable.by(differences(*checkpoints, where="encoder"), WORDS) + verdict


def _same_cells(
    in_gate: Mapping[str, Mapping[str, float]],
    measured: Iterable[str],
    languages: Iterable[str],
    where: str,
) -> Comparable:
    """Whether a gate has a score for each retriever that was measured, in each language."""
    cells = itertools.product(measured, languages)
    lacking = [
        (name, language) for name, language in cells if language not in in_gate.get(name, {})
    ]
    return Comparable(
        tuple(
            Obstacle(name, f"{where}.{name}.{language}: not in the gate")
            for name, language in lacking
        )
    )


def made_otherwise(expected: Expected, now: Expected) -> Comparable:
    """How the runs were made otherwise, in ways that forbid no comparison."""
    encoders = differences(expected.encoder, now.encoder, where="encoder")
    made_with = differences(expected.made_with, now.made_with, where="made_with")
    return Comparable.by(encoders + made_with, WORDS)


def score_verdicts(
    expected: Expected, now: Expected, tolerance: Mapping[str, Tolerance]
) -> Iterator[ScoreVerdict]:
    """Every score and overlap with its verdict.

    Averages are over the languages that are there now, on both sides. What has no score now is
    wrong, and so is an average over it.
    """
    tables: list[tuple[str, str, Mapping[str, float], Mapping[str, float]]] = [
        (
            metric,
            name,
            {language: expected.scores[metric][name][language] for language in now.languages},
            by_language,
        )
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
            language: 100 * allowed.moved / now.languages[language].queries for language in before
        }
        cells = {
            language: (before[language], after.get(language), steps[language])
            for language in before
        }
        if len(cells) > 1:  # the mean of languages that move independently moves less
            step = math.hypot(*steps.values()) / len(steps)
            mean_before = float(np.mean([*before.values()]))
            cells[AVERAGE] = (mean_before, over_all(map(after.get, before)), step)
        for language, (old, new, step) in cells.items():
            limit = max(allowed.wrong, step)
            state = state_of(old, new, limit, allowed.drift)
            yield ScoreVerdict(metric, name, language, old, new, limit, state)


def state_of(expected: float, now: float | None, wrong: float, drift: float) -> State:
    """The verdict on a score; all figures x 100. None: there is no score any more."""
    if now is None:
        return "wrong"
    # Scores are floats: 69.5 - 69.2 must not exceed 0.3 by a rounding error.
    off = abs(now - expected) - 1e-9
    return "wrong" if off > wrong else "drift" if off > drift else "ok"


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
        scores = before.scores[metric], after.scores.get(metric)
        query = MovedQuery(
            *key,
            metric,
            *scores,
            analysis.overlap(before.docids, after.docids),
            before.docids,
            after.docids,
        )
        if before.docids != after.docids or query.points >= 0.01:
            moved.append(query)
    return sorted(moved, key=lambda query: (-query.points, query.overlap))
