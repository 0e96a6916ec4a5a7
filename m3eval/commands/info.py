"""What is this? Describes any store, run or result: from what it was made, how big it is, whether it is finished.

    m3eval info outputs/demo/e5_small_q4                        everything about one encoder on one benchmark
    m3eval info outputs/demo/e5_small_q4/stores/corpus-ko       a store
    m3eval info outputs/demo/e5_small_q4/runs/dense/ko.trec     a run
    m3eval info outputs/demo/e5_small_q4 documents=true          also length of documents against quality: reads corpora

Of runs it shows how much retrievers overlap, their scores by rank, unjudged documents, quality by length, and what they cost.
What needs judgements takes the configuration from scores/scores.json, which stage 2 writes.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from m3eval.benchmarks.task import Task, document_texts
from m3eval.config import Setup, check
from m3eval.console import say, size
from m3eval.errors import UserError
from m3eval.manifests import read_record
from m3eval.metrics import analysis
from m3eval.reference.published import AVERAGE
from m3eval.reports.runs import Figures
from m3eval.reports.stores import show_store, show_stores
from m3eval.retrievers.run import Run, read_run
from m3eval.stages.evaluate import judge, text_differences


def describe(path: Path, with_documents: bool = False) -> None:
    """Prints what lies at a path.

    Raises:
        UserError: nothing that m3eval made.
    """
    if (path / "manifest.json").exists() or (path / "plan.json").exists():
        show_store(path)
    elif (path / "runs").is_dir() or (path / "stores").is_dir():
        show_folder(path, with_documents)
    elif path.name == "scores.json" or (path / "scores.json").exists():
        show_result(path if path.is_file() else path / "scores.json")
    elif runs := list(runs_at(path)):
        show_runs(runs, with_documents)
    else:
        raise UserError(
            f"{path} is no store, run or result of m3eval: give outputs/BENCHMARK/ENCODER, or in it stores/NAME, runs, "
            "runs/RETRIEVER, runs/RETRIEVER/LANGUAGE.trec or scores."
        )


def show_folder(path: Path, with_documents: bool) -> None:
    """Everything about one encoder on one benchmark."""
    stores = sorted(
        found.parent
        for name in ("manifest", "plan")
        for found in path.glob(f"stores/*/{name}.json")
    )
    if stores:
        show_stores(stores)
    if runs := list(runs_at(path / "runs")):
        show_runs(runs, with_documents)
    if (path / "scores" / "scores.json").exists():
        show_result(path / "scores" / "scores.json")


@dataclass(frozen=True)
class RunFile:
    """A run of stage 1 and what is beside it."""

    path: Path  # {folder}/runs/{retriever}/{language}.trec

    @property
    def retriever(self) -> str:
        """Its name."""
        return self.path.parent.name

    @property
    def language(self) -> str:
        """Of queries and judgements."""
        return self.path.stem

    @cached_property
    def manifest(self) -> dict[str, Any] | None:
        """What it was made with; None: it is not finished."""
        return (
            read_record(self.path.with_suffix(".json"))
            if self.path.with_suffix(".json").exists()
            else None
        )

    @cached_property
    def cost(self) -> dict[str, Any]:
        """What stage 1 measured beside it, {language}.cost.json: {queries, seconds, runtime}; empty where there is none."""
        path = self.path.with_suffix(".cost.json")
        return read_record(path) if path.exists() else {}


def runs_at(path: Path) -> Iterator[RunFile]:
    """The runs at or below a path, retrievers in alphabetical order."""
    if path.suffix in (".trec", ".json") and path.with_suffix(".trec").exists():
        yield RunFile(path.with_suffix(".trec"))
    elif path.is_dir():
        files = sorted(path.glob("*.trec")) or sorted(path.glob("*/*.trec"))
        yield from map(RunFile, files)


def show_runs(found: list[RunFile], with_documents: bool) -> None:
    """What the runs are, and what they are like."""
    if len(found) == 1:
        show_manifest(found[0])
    by_language: dict[str, list[RunFile]] = defaultdict(list)
    for one in found:
        if one.manifest is None:
            say(f"not finished: {one.path} has no manifest")
        else:
            by_language[one.language].append(one)
    if not by_language:
        return
    setup, why_not = configured(found[0].path.parents[2])
    figures = Figures()
    for language, files in by_language.items():
        runs = {one.retriever: read_run(one.path) for one in files}
        gather_runs(figures, files, runs)
        if setup:
            task = setup.benchmark.task(language)
            other = [line for one in files for line in text_differences(setup, task, one.manifest)]
            if other:
                why_not = f"{language}: the runs are of other texts than scores/scores.json: {'; '.join(dict.fromkeys(other))}"
            else:
                gather_judged(figures, setup, task, runs, with_documents)
    figures.show(str(setup.metrics[0]) if setup else "")
    if why_not:
        say(
            f"Not shown, for they need judgements: unjudged documents and quality by length. {why_not}"
        )


def show_manifest(one: RunFile) -> None:
    """One run in full."""
    say(f"run        {one.path}, {size(one.path.stat().st_size)}")
    if one.manifest is None:
        say("state      not finished: its manifest is missing; run step1_search.py again")
        return
    manifest = one.manifest
    say(f"state      finished, by m3eval {manifest['m3eval']}")
    say(f"benchmark  {manifest['benchmark']}, {one.language}; retriever {manifest['retriever']}")
    say(
        f"settings   {', '.join(f'{name}={value}' for name, value in manifest['settings'].items())}"
    )
    say(f"encoder    {manifest['encoder']['name'] if manifest['encoder'] else 'none'}")
    for name, texts in manifest["texts"].items():
        say(
            f"texts      {name}: {texts['count']:,}, {texts['split']}, at most {texts['max_length']} tokens"
        )
        say(f"           sha256 {texts['sha256']}")
    for name, made_from in manifest["inputs"].items():
        say(
            f"built on   {name}: {', '.join(f'{key}={value}' for key, value in made_from['settings'].items())}"
        )


def configured(folder: Path) -> tuple[Setup | None, str]:
    """The configuration that stage 2 recorded, or why there is none."""
    path = folder / "scores" / "scores.json"
    if not path.exists():
        return None, f"{path} does not exist: run step2_eval.py."
    try:
        setup = check(OmegaConf.create(read_record(path)["provenance"]["config"]))
        return setup, "" if setup.tasks else "It names no language."
    except UserError as error:
        return None, f"The configuration in {path} cannot be used here: {error}"


def gather_runs(figures: Figures, files: Iterable[RunFile], runs: dict[str, Run]) -> None:
    """Adds what the runs of one language are like, without judgements."""
    for one in files:
        run, row = runs[one.retriever], figures.rows[one.retriever]
        asked = sum(
            texts["count"]
            for name, texts in one.manifest["texts"].items()
            if name.startswith("queries")
        )
        row["queries"].append(asked)
        row["found nothing"].append(asked - len(run))
        row["documents"].append(sum(len(ranking.docids) for ranking in run.values()))
        row["bytes"].append(one.path.stat().st_size)
        for place in (1, 10, 100):
            scores = analysis.scores_at(run, place)
            row[f"score at {place}"].append(float(scores.mean()) if len(scores) else math.nan)
        first = analysis.scores_at(run, 1)
        row["deviation at 1"].append(float(first.std()) if len(first) else math.nan)
        figures.costs[one.retriever].append(one.cost)
    qids = {qid for run in runs.values() for qid in run}
    for one, other in itertools.combinations(runs, 2) if qids else ():
        figures.overlaps[one, other].append(analysis.mean_overlaps(runs[one], runs[other], qids))


def gather_judged(
    figures: Figures, setup: Setup, task: Task, runs: dict[str, Run], with_documents: bool
) -> None:
    """Adds what judgements and texts of one language tell about its runs."""
    metric = setup.metrics[0]
    scores = {
        name: found[str(metric)]
        for name, found in judge(setup, task, runs.items(), [metric]).items()
    }
    lengths = {"queries": {query.qid: float(len(query.text)) for query in task.queries}}
    if with_documents and task.qrels is not None:
        sizes = {
            docid: len(text)
            for docid, text in document_texts(task.corpus, setup.rules).read()
            if docid in task.relevant
        }
        of = {
            q: [sizes[d] for d, grade in grades.items() if grade > 0 and d in sizes]
            for q, grades in task.qrels.items()
        }
        lengths["relevant documents"] = {
            qid: float(np.mean(found)) for qid, found in of.items() if found
        }
    for name, run in runs.items():
        if task.qrels is not None:
            figures.rows[name]["unjudged@10"].append(analysis.unjudged(run, task.qrels))
        for what, known in lengths.items():
            figures.lengths[what][name].append(analysis.thirds(known, scores[name]))


def show_result(path: Path) -> None:
    """A result: what it says and what it rests on."""
    found = read_record(path)
    origin = found["provenance"]
    say(f"result     {path}")
    say(f"title      {found['title']}")
    say(f"encoder    {found['encoder']}")
    say(
        f"queries    {sum(found['judged_queries'].values()):,} judged, in {len(found['judged_queries'])} languages"
    )
    for metric, by_retriever in found["scores"].items():
        means = {
            name: cells.get(AVERAGE, next(iter(cells.values())))
            for name, cells in by_retriever.items()
        }
        say(f"{metric:10} {', '.join(f'{name} {value:.1f}' for name, value in means.items())}")
    say(
        f"evaluated  {', '.join(f'{name} {version}' for name, version in origin['evaluated_with'].items())}"
    )
    if found.get("coverage"):
        say(f"published  {found['coverage']}")


def run(setup: Setup) -> None:
    """Describes the path given.

    Raises:
        UserError: nothing that m3eval made lies there.
    """
    describe(Path(setup.cfg.path), setup.cfg.documents)
