"""Single queries of several systems, side by side: what each found, and what that is worth.

It feeds the site's drill-down. Why a document scores what it scores is in `reasons.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import document_texts
from m3eval.commands.recorded import command
from m3eval.config import Setup, check, compose
from m3eval.errors import UserError
from m3eval.layout import Layout, RunFiles
from m3eval.manifests import Result
from m3eval.metrics.ranking import Scores
from m3eval.records import read
from m3eval.retrievers.run import Run, read_components, read_run
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import of_configured_texts, read_manifest


@dataclass(frozen=True)
class EncoderRuns:
    """One encoder's runs on a benchmark, with the configuration that stage 2 recorded."""

    path: Path  # outputs/{benchmark}/{encoder}
    setup: Setup

    @property
    def name(self) -> str:
        """The encoder's."""
        return self.setup.cfg.encoder.name

    @property
    def retrievers(self) -> list[str]:
        """Those that were scored."""
        return [str(name) for name in self.setup.cfg.retriever]

    def has_stores(self, task: Task) -> bool:
        """Whether stage 0 was needed: without stores there are scores, but no reasons."""
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
    # Settings that are newer than the runs get their defaults.
    made = command(read(file, Result).provenance)
    if made.gone:
        raise UserError(
            f"{file} records settings that exist no longer ({', '.join(made.gone)}): run "
            "`m3eval evaluate` again."
        )
    setup = check(compose(*made.words, *words))
    setup.cfg.output_dir = str(path.resolve().parent.parent)
    if setup.layout.folder != path.resolve():
        raise UserError(
            f"{path} holds runs of {setup.cfg.benchmark.name}/{setup.cfg.encoder.name}: keep that "
            "folder's name."
        )
    return EncoderRuns(path, setup)


@dataclass
class FoundList:
    """A system's list for one query: its first documents, best first, and where relevant ones are."""

    docids: list[str]
    scores: list[float]
    components: dict[str, list[float]]
    ranks: dict[str, int]  # of relevant documents, however deep


@dataclass
class LanguageView:
    """One language of a benchmark as several systems see it."""

    task: Task
    metric: str
    systems: list[str]
    scores: dict[str, Scores]  # system -> metric -> qid -> score
    lists: dict[str, dict[str, FoundList]]  # system -> qid -> list
    encoders: list[EncoderRuns]
    depth: int

    @cached_property
    def queries(self) -> dict[str, str]:
        """Judged queries and their texts, in order."""
        texts = {query.qid: query.text for query in self.task.queries}
        return {qid: texts[qid] for qid in self.task.judged if qid in texts}

    def spread(self, qid: str) -> float:
        """How far the best and the worst system are apart on a query."""
        values = [scores[self.metric].get(qid, 0.0) for scores in self.scores.values()]
        return max(values) - min(values)

    @cached_property
    def order(self) -> list[str]:
        """Queries by how much systems differ on them; of equals in the benchmark's order."""
        return sorted(self.queries, key=lambda qid: -self.spread(qid))

    def shown(self, qid: str) -> list[str]:
        """The documents that any system has for a query, each once."""
        lists = [by_query[qid] for by_query in self.lists.values() if qid in by_query]
        return list(dict.fromkeys(docid for each in lists for docid in each.docids))

    def texts(self, docids: set[str]) -> dict[str, str]:
        """Documents as encoders read them, in one pass over the corpus."""
        texts = document_texts(self.task.corpus, self.encoders[0].setup.rules).read()
        return {docid: text for docid, text in texts if docid in docids}


def language_views(encoders: list[EncoderRuns], depth: int) -> Iterator[LanguageView]:
    """Every language that the first encoder has, with all systems that have it too.

    Args:
        encoders: their runs, on one benchmark.
        depth: documents of a list that are shown.

    Raises:
        UserError: a run is missing or is of other texts than configured.
    """
    first = encoders[0].setup
    for task in first.tasks:
        here = [each for each in encoders if task.language in each.setup.languages]
        scores: dict[str, Scores] = {}
        lists: dict[str, dict[str, FoundList]] = {}
        for encoder in here:
            for name in encoder.retrievers:
                files = encoder.setup.layout.run(name, task.language)
                of_configured_texts(encoder.setup, task, read_manifest(files)).require(
                    f"The run {files.trec} is of other texts than configured"
                )
                system = name if len(encoders) == 1 else f"{encoder.name}/{name}"
                run = read_run(files.trec)
                scores |= judge(first, task, [(system, run)], first.metrics[:1])
                lists[system] = _first_documents(run, files, depth, task)
        yield LanguageView(task, str(first.metrics[0]), list(lists), scores, lists, here, depth)


def _first_documents(run: Run, files: RunFiles, depth: int, task: Task) -> dict[str, FoundList]:
    """The first documents of every query, with component scores where the run has a file of them."""
    components = read_components(files)
    lists = {}
    for qid, ranking in run.items():
        grades = (task.qrels or {}).get(qid, {})
        relevant = {docid for docid, grade in grades.items() if grade > 0}
        ranks = {docid: i for i, docid in enumerate(ranking.docids, start=1) if docid in relevant}
        docids, scores = ranking.docids[:depth], ranking.scores[:depth].tolist()
        parts: dict[str, list[float]] = {}
        if qid in components:
            of_query, by_name = components[qid]
            place = {docid: i for i, docid in enumerate(of_query)}
            parts = {
                name: [float(values[place[docid]]) if docid in place else 0.0 for docid in docids]
                for name, values in by_name.items()
            }
        lists[qid] = FoundList(docids, scores, parts, ranks)
    return lists
