"""Makes training examples of a benchmark: `m3eval mine`. What it does is `training/mining.py`."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path

from m3eval.benchmarks.formats import read_queries
from m3eval.benchmarks.task import Task
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.files import sha256, whole_file
from m3eval.retrievers.run import Run, read_run
from m3eval.stages.trust import trusted_manifest
from m3eval.training import mining
from m3eval.training.leaks import alike


def run(setup: Setup) -> None:
    """Writes a file of examples for each language.

    Raises:
        UserError: a run is missing, a pattern fits no file, or a language has no example.
    """
    cfg = setup.cfg
    first, last = cfg.ranks
    if first > last:
        raise UserError(f"ranks=[{first},{last}]: the first rank must not be above the last.")
    if cfg.neg_q and not cfg.negatives:
        raise UserError("neg_q=true is about negatives, and negatives=0 asks for none.")
    choice = mining.Choice(cfg.negatives, (first, last), cfg.margin, cfg.neg_q, cfg.most, cfg.seed)
    never = questions(cfg.never)
    for task in setup.tasks:
        found = _run(setup, cfg.mined_from, task) if cfg.negatives else None
        judge = _run(setup, cfg.judged_by, task) if cfg.negatives and cfg.judged_by else None
        mined = mining.mine(task, setup.rules, choice, never, found, judge)
        if not mined.rows:
            raise UserError(
                f"{cfg.benchmark.name} has no query in {task.language} that may be trained on: "
                f"{mined.asked_elsewhere:,} are among never=, {mined.without_positive:,} have no "
                "relevant document."
            )
        path = Path(cfg.folder).expanduser() / f"{cfg.benchmark.name}-{task.language}.jsonl"
        with whole_file(path) as part:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in mined.rows)
            part.write_text("".join(lines), encoding="utf-8")
        say(
            f"{path}: {len(mined.rows):,} examples; left out: {mined.asked_elsewhere:,} asked "
            f"elsewhere, {mined.without_positive:,} without relevant document; "
            f"{mined.few:,} with fewer negatives. SHA-256 {sha256(path)}"
        )


def questions(patterns: Sequence[str]) -> set[str]:
    """The questions in files.

    Raises:
        UserError: a pattern fits no file, or a file holds no questions.
    """
    found: set[str] = set()
    for pattern in patterns:
        paths = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))
        if not paths:
            raise UserError(f"never: no file is called {pattern}.")
        for path in paths:
            found |= {alike(query.text) for query in read_queries(Path(path))}
    return found


def _run(setup: Setup, name: str, task: Task) -> Run:
    """A retriever's run, which must be of the texts that are configured."""
    if name not in setup.cfg.retriever:
        raise UserError(f"{name} is not among the retrievers: add it, as in retriever=[{name}].")
    trusted_manifest(setup, name, task)
    return read_run(setup.layout.run(name, task.language).trec)
