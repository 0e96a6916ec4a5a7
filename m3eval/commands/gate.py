"""Are the scores still those they were? A gate for continuous integration, over the runs of stage 1.

    python -m m3eval.gate experiment=demo                     hold the runs against gates/demo/e5_small_q4.yaml
    python -m m3eval.gate experiment=demo gate.write=true     write that file from them, when a change is meant

Each score is ok, drift (another machine, another library: shown) or wrong (the gate fails), in both directions, for a gain that
nobody can explain is a finding, too. The first ten documents of queries show a change before scores do. Ends with status 0,
with 1 when something is wrong, with 2 when the runs cannot be compared: other texts, lengths, depths, weights or checkpoint.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from omegaconf import OmegaConf

from m3eval.benchmarks.task import Task
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import digest, whole_file
from m3eval.manifests import renamed
from m3eval.metrics import analysis
from m3eval.provenance import versions
from m3eval.reference.published import AVERAGE
from m3eval.reports import verdicts
from m3eval.reports.verdicts import Moved, Row
from m3eval.retrievers.run import read_run
from m3eval.stages.evaluate import judge, trusted_manifest
from m3eval.stores.writer import differences

TOP = 10
OVERLAP = f"top-{TOP} overlap"
PROTOCOL = (
    "depth",
    "weights",
    "exclude_self",
)  # settings of a retriever that must agree; an engine need not
HEAD = """\
# Expected scores (x 100, means over all judged queries), written by: python -m m3eval.gate ... gate.write=true
# Never type a score. Tolerances are yours to set; they stay when the file is written again.
"""


class Kept(NamedTuple):
    """What is kept of one query's result."""

    scores: dict[str, float]  # metric -> x 100
    docids: list[str]  # the first TOP, best first


@dataclass(frozen=True)
class Measured:
    """What the runs give, or gave."""

    encoder: dict[str, Any] | None  # identity
    made_with: dict[str, str]  # versions and device
    languages: dict[str, Any]  # language -> queries, judgements, texts: must agree
    retrievers: dict[str, Any]  # retriever -> settings of the protocol: must agree
    scores: dict[str, dict[str, dict[str, float]]]  # metric -> retriever -> language -> x 100
    kept: dict[tuple[str, str, str], Kept]  # (retriever, language, qid)


def run(setup: Setup) -> None:
    """Hold runs against the scores they are expected to have"""
    path = Path(setup.cfg.gate.file)
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"gate       {path}")
    now = measure(setup)
    if setup.cfg.gate.write:
        tolerance = read(path)[1] if path.exists() else {}
        write(
            path,
            now,
            {
                metric: tolerance.get(metric, first)
                for metric, first in first_tolerance(setup, now).items()
            },
        )
        return
    if not path.exists():
        raise UserError(
            f"There is no gate {path} yet: write it from runs that you trust, with gate.write=true."
        )
    expected, tolerance = read(path)
    comparable(expected, now, path)
    report = verdicts.Report(
        title=setup.title,
        rows=list(rows(expected, now, tolerance)),
        moved=moved(expected, now),
        changed=differences(
            {"encoder": expected.encoder, "made_with": expected.made_with},
            {"encoder": now.encoder, "made_with": now.made_with},
            words=("in the gate", "now"),
        ),
        left_out=sum(map(len, next(iter(expected.scores.values())).values()))
        - len(now.languages) * len(now.retrievers),
        strict=setup.cfg.gate.strict,
    )
    verdicts.show(report)
    for written in verdicts.write(report, setup.folder / "gate"):
        say(f"  written  {written}")
    if report.failed:
        sys.exit(1)


def measure(setup: Setup) -> Measured:
    """Scores and first documents of the configured runs.

    Raises:
        UserError: a run is missing, or was made otherwise than configured.
    """
    names, tasks = list(setup.cfg.retriever), setup.tasks
    cells = [(name, task) for name in names for task in tasks]
    found = together(
        [lambda name=name, task=task: trusted_manifest(setup, name, task) for name, task in cells]
    )
    manifests = {
        (name, task.language): manifest for (name, task), manifest in zip(cells, found, strict=True)
    }
    metrics = [str(metric) for metric in setup.metrics]
    scores: dict[str, Any] = {metric: {name: {} for name in names} for metric in metrics}
    kept: dict[tuple[str, str, str], Kept] = {}
    for task in tasks:
        language = task.language
        per_query = judge(
            setup, task, ((name, read_run(setup.run_path(name, language))) for name in names)
        )
        for name in names:
            run = read_run(setup.run_path(name, language), task.judged)
            values = per_query[name]
            for metric in metrics:
                scores[metric][name][language] = 100 * float(np.mean([*values[metric].values()]))
            for qid in list(values[metrics[0]])[: setup.cfg.gate.queries]:
                kept[name, language, qid] = Kept(
                    {m: 100 * values[m][qid] for m in metrics}, run[qid].docids[:TOP]
                )
    return Measured(
        encoder=next((manifest["encoder"] for manifest in found if manifest["encoder"]), None),
        made_with=versions(setup.runtime),
        languages={
            task.language: _language(task, manifests[names[0], task.language]) for task in tasks
        },
        retrievers={name: protocol(manifests[name, tasks[0].language]) for name in names},
        scores=scores,
        kept=kept,
    )


def _language(task: Task, manifest: Mapping[str, Any]) -> dict[str, Any]:
    judgements = task.qrels if task.qrels is not None else task.answers
    rests_on = digest(
        {
            qid: judged if isinstance(judged, list) else dict(judged)
            for qid, judged in judgements.items()
        }
    )
    return {
        "queries": len(task.judged),
        "judgements": rests_on,
        "texts": dict(sorted(manifest["texts"].items())),
    }


def protocol(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that must agree, and of those it builds on."""
    inputs = {name: protocol(made_from) for name, made_from in manifest["inputs"].items()}
    return {
        name: manifest["settings"][name] for name in PROTOCOL if name in manifest["settings"]
    } | ({"inputs": inputs} if inputs else {})


def first_tolerance(setup: Setup, now: Measured) -> dict[str, dict[str, float]]:
    """What a gate that is written for the first time allows, by metric."""
    given = OmegaConf.to_container(setup.cfg.gate.tolerance)
    overlap = given.pop("overlap")
    return {metric: dict(given) for metric in now.scores} | {OVERLAP: given | {"wrong": overlap}}


def comparable(expected: Measured, now: Measured, path: Path) -> None:
    """Raises UserError, naming each difference, where the gate is not about these texts, settings or this checkpoint."""
    lacking = [f"languages.{name}" for name in now.languages if name not in expected.languages]
    lacking += [f"retrievers.{name}" for name in now.retrievers if name not in expected.retrievers]
    lacking += [f"scores.{metric}" for metric in now.scores if metric not in expected.scores]
    lines = [f"{name}: not in the gate" for name in lacking]
    pairs = {"encoder": ({}, {})}
    for one, side in ((expected, 0), (now, 1)):
        known = {key: (one.encoder or {}).get(key) for key in ("name", "files")}
        pairs["encoder"][side].update(known)
    pairs |= {
        f"languages.{name}": (expected.languages.get(name), of)
        for name, of in now.languages.items()
    }
    pairs |= {
        f"retrievers.{name}": (expected.retrievers.get(name), of)
        for name, of in now.retrievers.items()
    }
    for where, (before, after) in pairs.items():
        if where not in lacking:
            lines += differences(before, after, where=where, words=("in the gate", "now"))
    if lines:
        raise UserError(
            f"The gate {path} is of something else than these runs:\n  "
            + "\n  ".join(lines)
            + "\nIf the change is meant, write the gate again with gate.write=true."
        )


def rows(
    expected: Measured, now: Measured, tolerance: Mapping[str, Mapping[str, float]]
) -> Iterator[Row]:
    """Every score and overlap with its verdict; averages are over the languages that are there now, on both sides."""
    counts = {language: of["queries"] for language, of in now.languages.items()}
    overlaps = overlap(expected, now)
    tables = [
        (metric, name, expected.scores[metric][name], of)
        for metric, by in now.scores.items()
        for name, of in by.items()
    ]
    tables += [(OVERLAP, name, dict.fromkeys(of, 100.0), of) for name, of in overlaps.items()]
    for metric, name, before, after in tables:
        allowed = tolerance[metric]
        steps = {language: 100 * allowed["moved"] / counts[language] for language in after}
        cells = {lang: (before[lang], got, steps[lang]) for lang, got in after.items()}
        if len(cells) > 1:  # if languages move independently of each other, their mean moves less
            step = math.hypot(*steps.values()) / len(steps)
            cells[AVERAGE] = (
                float(np.mean([before[lang] for lang in after])),
                float(np.mean([*after.values()])),
                step,
            )
        for language, (want, got, step) in cells.items():
            limit = max(allowed["wrong"], step)
            off = (
                abs(got - want) - 1e-9
            )  # scores are floats: 69.5 - 69.2 must not exceed 0.3 by a rounding error
            state = "wrong" if off > limit else "drift" if off > allowed["drift"] else "ok"
            yield Row(metric, name, language, want, got, limit, state)


def overlap(expected: Measured, now: Measured) -> dict[str, dict[str, float]]:
    """Retriever -> language -> mean share x 100 of the documents among the first TOP that were there before."""
    shares: dict[str, dict[str, list[float]]] = {}
    for (name, language, qid), after in now.kept.items():
        if before := expected.kept.get((name, language, qid)):
            shares.setdefault(name, {}).setdefault(language, []).append(
                100 * analysis.overlap(before.docids, after.docids)
            )
    return {
        name: {language: float(np.mean(of)) for language, of in found.items()}
        for name, found in shares.items()
    }


def moved(expected: Measured, now: Measured) -> list[Moved]:
    """The queries that changed, those first whose score moved most, then those whose lists differ most."""
    metric = next(iter(now.scores))
    found = []
    for key, after in now.kept.items():
        before = expected.kept.get(key)
        if before is None or (
            before.docids == after.docids
            and abs(before.scores[metric] - after.scores[metric]) < 0.01
        ):
            continue
        share = analysis.overlap(before.docids, after.docids)
        found.append(
            Moved(
                *key,
                metric,
                before.scores[metric],
                after.scores[metric],
                share,
                before.docids,
                after.docids,
            )
        )
    return sorted(found, key=lambda one: (-abs(one.got - one.expected), one.overlap))


def write(path: Path, now: Measured, tolerance: Mapping[str, Mapping[str, float]]) -> None:
    """Writes a gate: YAML for people and diffs, and the first documents of queries beside it."""
    scores = {
        m: {name: {lang: round(v, 4) for lang, v in of.items()} for name, of in by.items()}
        for m, by in now.scores.items()
    }
    content = {
        "tolerance": {metric: dict(of) for metric, of in tolerance.items()},
        "scores": scores,
        "retrievers": now.retrievers,
        "encoder": now.encoder,
        "made_with": now.made_with,
        "languages": now.languages,
    }
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["retriever", "language", "qid", *now.scores, "docids"])
    for key, one in now.kept.items():
        writer.writerow(
            [*key, *(f"{one.scores[metric]:.4f}" for metric in now.scores), " ".join(one.docids)]
        )
    with whole_file(_lists(path)) as part:
        part.write_bytes(
            gzip.compress(text.getvalue().encode(), mtime=0)
        )  # no time, so the same lists are the same file
    with whole_file(path) as part:
        plain = yaml.safe_dump(
            content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=128
        )
        part.write_text(HEAD + plain, encoding="utf-8")
    for written in (path, _lists(path)):
        say(f"  written  {written}")


def read(path: Path) -> tuple[Measured, dict[str, dict[str, float]]]:
    """A gate and its tolerances.

    Raises:
        UserError: a file is missing or was spoilt.
    """
    try:
        content = renamed(yaml.safe_load(path.read_text(encoding="utf-8")))
        tolerance = content.pop("tolerance")
        metrics = list(content["scores"])
        with gzip.open(_lists(path), "rt", encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        kept = {
            (line["retriever"], line["language"], line["qid"]): Kept(
                {metric: float(line[metric]) for metric in metrics}, line["docids"].split()
            )
            for line in lines
        }
        return Measured(**content, kept=kept), tolerance
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The gate {path} cannot be read ({type(error).__name__}: {error}): write it with gate.write=true."
        ) from error


def _lists(path: Path) -> Path:
    return path.with_suffix(".tsv.gz")
