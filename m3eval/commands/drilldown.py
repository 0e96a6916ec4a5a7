"""Single queries of several systems, side by side: their lists, and what these are worth.

It reads the runs for the site's drill-down. Why a document scores what it scores is found in
`reasons.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import document_texts
from m3eval.commands.recorded import configuration
from m3eval.config import Setup
from m3eval.errors import UserError
from m3eval.layout import Layout, RunFiles
from m3eval.metrics.ranking import Scores
from m3eval.reports.site.queries import LanguageView, RankedList
from m3eval.retrievers.finished import manifest_of, read_components, read_run
from m3eval.retrievers.run import Run
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import of_configured_texts


@dataclass(frozen=True)
class EncoderRuns:
    """One encoder's runs on a benchmark, with the configuration that stage 2 recorded."""

    path: Path  # outputs/{benchmark}/{encoder}
    setup: Setup

    @property
    def name(self) -> str:
        """The encoder's name."""
        return self.setup.cfg.encoder.name

    @property
    def retrievers(self) -> list[str]:
        """The retrievers whose runs were scored."""
        return [str(name) for name in self.setup.cfg.retriever]

    def has_stores(self, task: Task) -> bool:
        """Whether stage 0 was needed; without stores there are scores, but no evidence."""
        name = document_texts(task.corpus, self.setup.rules).name
        return self.setup.layout.store(name).manifest.exists()


def open_runs(path: Path, words: list[str]) -> EncoderRuns:
    """The runs in a folder outputs/{benchmark}/{encoder}.

    Args:
        path: the folder.
        words: settings that replace recorded ones, as in benchmark.root=/data.

    Raises:
        UserError: stage 2 did not score it, or the configuration cannot be used here.
    """
    file = Layout(path).scores.json
    if not file.exists():
        raise UserError(
            f"{file} does not exist: run `m3eval evaluate`, or give outputs/BENCHMARK/ENCODER."
        )
    setup = configuration(file, words)
    setup.cfg.output_dir = str(path.resolve().parent.parent)
    if setup.layout.folder != path.resolve():
        raise UserError(
            f"{path} holds runs of {setup.cfg.benchmark.name}/{setup.cfg.encoder.name}: keep that "
            "folder's name."
        )
    return EncoderRuns(path, setup)


def language_views(folders: list[EncoderRuns], depth: int) -> Iterator[LanguageView]:
    """Every language that the first encoder has, with all systems that have it too.

    Args:
        folders: the encoders' runs, on one benchmark.
        depth: documents of a list that are shown.

    Raises:
        UserError: a run is missing or is of other texts than configured.
    """
    first = folders[0].setup
    metric = first.metrics[0]
    for task in first.tasks:
        scores: dict[str, Scores] = {}
        lists: dict[str, dict[str, RankedList]] = {}
        for folder in folders:
            if task.language not in folder.setup.languages:
                continue
            for name in folder.retrievers:
                files = folder.setup.layout.run(name, task.language)
                of_configured_texts(folder.setup, task, manifest_of(files)).require(
                    f"The run {files.trec} is of other texts than configured"
                )
                system = name if len(folders) == 1 else f"{folder.name}/{name}"
                run = read_run(files, [query.qid for query in task.queries])
                scores |= judge(first, task, [(system, run)], [metric])
                lists[system] = ranked_lists(run, files, depth, task)
        documents = document_texts(task.corpus, first.rules)
        yield LanguageView(task, str(metric), list(lists), scores, lists, documents.read)


def ranked_lists(run: Run, files: RunFiles, depth: int, task: Task) -> dict[str, RankedList]:
    """The first documents of every query, with component scores where the run has them."""
    components = read_components(files)
    lists: dict[str, RankedList] = {}
    for qid, ranking in run.items():
        grades = (task.qrels or {}).get(qid, {})
        relevant = {docid for docid, grade in grades.items() if grade > 0}
        ranks = {docid: i for i, docid in enumerate(ranking.docids, start=1) if docid in relevant}
        docids, scores = ranking.docids[:depth], ranking.scores[:depth].tolist()
        of_query: dict[str, list[float]] = {}
        if qid in components:
            candidates, by_component = components[qid]
            place = {docid: i for i, docid in enumerate(candidates)}
            of_query = {
                name: [float(values[place[docid]]) if docid in place else 0.0 for docid in docids]
                for name, values in by_component.items()
            }
        lists[qid] = RankedList(docids, scores, of_query, ranks)
    return lists
