"""What is this? Describes a store, a run or a result: what it was made of, its size, its state.

For runs it shows how much retrievers overlap, their scores by rank, unjudged documents, quality by
length, and what they cost. What needs judgements takes the configuration that stage 2 recorded.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import document_texts
from m3eval.buckets import place
from m3eval.commands import intact
from m3eval.commands.recorded import configuration
from m3eval.comparable import Comparable
from m3eval.config import Setup
from m3eval.console import say, size
from m3eval.errors import UserError
from m3eval.layout import Layout, RunFiles, ScoreFiles, StoreFiles
from m3eval.manifests import RunCost, RunManifest
from m3eval.metrics import analysis
from m3eval.records import read
from m3eval.reference.published import AVERAGE
from m3eval.reports.results import left_out, read_result, shown
from m3eval.reports.runs import RunFigures
from m3eval.reports.stores import show_store, show_stores
from m3eval.retrievers import finished
from m3eval.retrievers.run import Run, read_run
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import of_configured_texts


def describe(path: Path, with_documents: bool = False) -> None:
    """Prints what lies at a path.

    Args:
        path: a store, a run, a result, or the folder of all of them.
        with_documents: also quality by the length of relevant documents, which reads the corpora.

    Raises:
        UserError: nothing that m3eval made lies there.
    """
    store, scores = StoreFiles(path), ScoreFiles(path.parent if path.is_file() else path)
    if store.manifest.exists() or store.plan.exists():
        show_store(store)
    elif (path / "runs").is_dir() or (path / "stores").is_dir():
        show_folder(Layout(path), with_documents)
    elif scores.json.exists() and (path.is_dir() or path == scores.json):
        show_result(scores)
    elif runs := list(runs_at(path)):
        show_runs(runs, with_documents)
    else:
        raise UserError(
            f"{path} is no store, run or result of m3eval: give outputs/BENCHMARK/ENCODER, or in "
            "it stores/NAME, runs, runs/RETRIEVER, runs/RETRIEVER/LANGUAGE.trec or scores."
        )


def show_folder(layout: Layout, with_documents: bool) -> None:
    """Everything about one encoder on one benchmark."""
    if stores := list(layout.stores()):
        show_stores(stores)
    if runs := list(runs_at(layout.runs)):
        show_runs(runs, with_documents)
    if layout.scores.json.exists():
        show_result(layout.scores)


@dataclass(frozen=True)
class RunOnDisk:
    """A run of stage 1 and what stands beside it."""

    files: RunFiles

    @cached_property
    def manifest(self) -> RunManifest | None:
        """What it was made with; None: it is not finished."""
        exists = self.files.manifest.exists()
        return read(self.files.manifest, RunManifest, finished.REMEDY) if exists else None

    @property
    def lists(self) -> Run:
        """Its lists as they were written; those of an earlier version as they are."""
        sealed = self.manifest is not None and self.manifest.files
        return finished.read_run(self.files, None) if sealed else read_run(self.files.trec)

    @cached_property
    def cost(self) -> list[RunCost]:
        """What stage 1 measured; empty: nothing is known."""
        return [read(self.files.cost, RunCost)] if self.files.cost.exists() else []


def runs_at(path: Path) -> Iterator[RunOnDisk]:
    """The runs at or below a path, retrievers in alphabetical order."""
    if path.suffix in (".trec", ".json") and path.with_suffix(".trec").exists():
        yield RunOnDisk(RunFiles(path.with_suffix(".trec")))
    elif path.is_dir():
        for trec in sorted(path.glob("*.trec")) or sorted(path.glob("*/*.trec")):
            yield RunOnDisk(RunFiles(trec))


def show_runs(runs: list[RunOnDisk], with_documents: bool) -> None:
    """What the runs are, and what they are like."""
    if len(runs) == 1:
        show_run(runs[0])
    by_language: dict[str, list[RunOnDisk]] = defaultdict(list)
    for run in runs:
        if run.manifest is None:
            say(f"not finished: {run.files.trec} has no manifest")
            continue
        if not run.manifest.files:
            say(f"not sealed: an earlier version made {run.files.trec}, so damage is not seen")
        by_language[run.files.language].append(run)
    if not by_language:
        return
    setup, why_not = configured(Layout(runs[0].files.trec.parents[2]))
    figures = RunFigures()
    for language, of_language in by_language.items():
        lists = {run.files.retriever: run.lists for run in of_language}
        gather_lists(figures, of_language, lists)
        if setup is None:
            continue
        task = setup.benchmark.task(language)
        verdict = Comparable()
        for run in of_language:
            if run.manifest:
                verdict += of_configured_texts(setup, task, run.manifest)
        if verdict:
            gather_judged(figures, setup, task, lists, with_documents)
        else:
            texts = "; ".join(map(str, verdict.obstacles))
            why_not = f"{language}: the runs are of other texts than scores/scores.json: {texts}"
    figures.show(str(setup.metrics[0]) if setup else "")
    if why_not:
        say(
            "Not shown, for they need judgements: unjudged documents and quality by length. "
            + why_not
        )


def show_run(run: RunOnDisk) -> None:
    """One run in full."""
    say(f"run        {run.files.trec}, {size(run.files.trec.stat().st_size)}")
    if run.manifest is None:
        say("state      not finished: its manifest is missing; run `m3eval search` again")
        return
    manifest = run.manifest
    say(f"state      finished, by m3eval {manifest.m3eval}")
    say(f"benchmark  {manifest.benchmark}, {manifest.language}; retriever {manifest.retriever}")
    say(f"settings   {', '.join(f'{name}={value}' for name, value in manifest.settings.items())}")
    for other in manifest.elsewhere:
        assert other.foreign is not None
        say(f"made       elsewhere: {other.foreign.path}, sha256 {other.foreign.sha256}")
    for name, recall in manifest.approximate.items():
        shares = ", ".join(f"recall@{cutoff} {share:.3f}" for cutoff, share in recall.items())
        say(f"found      approximately by {name}: {shares}")
    say(f"encoder    {manifest.encoder.name if manifest.encoder else 'none'}")
    for name, texts in manifest.texts.items():
        say(f"texts      {name}: {texts.count:,}, {texts.split}, at most {texts.max_length} tokens")
        say(f"           {texts.hash}")
    for name, built_on in manifest.inputs.items():
        settings = ", ".join(f"{key}={value}" for key, value in built_on.settings.items())
        say(f"built on   {name}: {settings}")


def configured(layout: Layout) -> tuple[Setup | None, str]:
    """The configuration that stage 2 recorded, or why there is none."""
    path = layout.scores.json
    if not path.exists():
        return None, f"{path} does not exist: run `m3eval evaluate`."
    try:
        setup = configuration(path)
        return setup, "" if setup.tasks else "It names no language."
    except UserError as error:
        return None, f"The configuration in {path} cannot be used here: {error}"


def gather_lists(figures: RunFigures, runs: list[RunOnDisk], lists: dict[str, Run]) -> None:
    """Adds what the runs of one language are like, without judgements."""
    for run in runs:
        ranked, retriever = lists[run.files.retriever], figures.retrievers[run.files.retriever]
        queries = run.manifest.queries.count or 0 if run.manifest else 0
        retriever.queries.append(queries)
        retriever.found_nothing.append(queries - len(ranked))
        retriever.documents.append(sum(len(ranking.docids) for ranking in ranked.values()))
        retriever.bytes.append(run.files.trec.stat().st_size)
        retriever.costs += run.cost
        for rank in (1, 10, 100):
            scores = analysis.scores_at(ranked, rank)
            mean = float(scores.mean()) if len(scores) else math.nan
            retriever.columns[f"score at {rank}"].append(mean)
        first = analysis.scores_at(ranked, 1)
        deviation = float(first.std()) if len(first) else math.nan
        retriever.columns["deviation at 1"].append(deviation)
    qids = {qid for ranked in lists.values() for qid in ranked}
    for left, right in itertools.combinations(lists, 2) if qids else ():
        overlap = analysis.mean_overlaps(lists[left], lists[right], qids)
        figures.overlaps[left, right].append(overlap)


def gather_judged(
    figures: RunFigures, setup: Setup, task: Task, lists: dict[str, Run], with_documents: bool
) -> None:
    """Adds what judgements and texts of one language tell about its runs."""
    metric = setup.metrics[0]
    judged = judge(setup, task, lists.items(), [metric])
    scores = {name: by_metric[str(metric)] for name, by_metric in judged.items()}
    lengths = {"queries": {query.qid: float(len(query.text)) for query in task.queries}}
    if with_documents and task.qrels is not None:
        texts = document_texts(task.corpus, setup.rules).read()
        sizes = {docid: len(text) for docid, text in texts if docid in task.relevant}
        relevant = {
            qid: [sizes[docid] for docid, grade in grades.items() if grade > 0 and docid in sizes]
            for qid, grades in task.qrels.items()
        }
        lengths["relevant documents"] = {
            qid: float(np.mean(of_query)) for qid, of_query in relevant.items() if of_query
        }
    for name, run in lists.items():
        if task.qrels is not None:
            unjudged = analysis.unjudged(run, task.qrels)
            figures.retrievers[name].columns["unjudged@10"].append(unjudged)
        for what, known in lengths.items():
            figures.by_length[what][name].append(analysis.thirds(known, scores[name]))


def show_result(files: ScoreFiles) -> None:
    """A result: what it says and what it rests on."""
    result = read_result(files)
    judged = result.judged_queries
    say(f"result     {files.json}")
    state = "as it was written" if result.sealed else "not sealed: an earlier version made it"
    say(f"state      {', without '.join([state, *left_out(files, result)])}")
    say(f"title      {result.title}")
    say(f"encoder    {result.encoder}")
    say(f"queries    {sum(judged.values()):,} judged, in {len(judged)} languages")
    for metric, by_retriever in result.scores.items():
        means = (
            f"{name} {shown(cells.get(AVERAGE, next(iter(cells.values()), None)))}"
            for name, cells in by_retriever.items()
        )
        say(f"{metric:10} {', '.join(means)}")
    versions = result.provenance.evaluated_with.items()
    say(f"evaluated  {', '.join(f'{name} {version}' for name, version in versions)}")
    if result.coverage:
        say(f"published  {result.coverage}")


def run(setup: Setup) -> None:
    """Describes the path given.

    Raises:
        UserError: nothing that m3eval made lies there, or what is described or checked is damaged.
    """
    path = place(setup.cfg.path)
    if setup.cfg.check:
        intact.check(path)
    else:
        describe(path, setup.cfg.documents)
