"""Stage 2: runs -> scores and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from m3eval.benchmarks.task import Task, compare_counts, document_texts, query_texts
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import digest
from m3eval.manifests import read_record
from m3eval.metrics.judge import AnswerJudgements, DocumentJudgements, Judgements
from m3eval.metrics.judge import judge as judge_runs
from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores
from m3eval.provenance import engines, versions
from m3eval.reports import table
from m3eval.reports.distance import Comparison
from m3eval.retrievers.retriever import find
from m3eval.retrievers.run import Run, read_run
from m3eval.stages.embed import text_identity
from m3eval.stages.search import run_settings
from m3eval.stores import compression
from m3eval.stores.writer import differences
from m3eval.tuned import refuse_seen


def run(setup: Setup) -> None:
    """Stage 2: score the runs and write tables"""
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    cells = [(name, task) for name in setup.cfg.retriever for task in setup.tasks]
    found = together(
        [lambda name=name, task=task: trusted_manifest(setup, name, task) for name, task in cells]
    )
    manifests = {
        (name, task.language): manifest for (name, task), manifest in zip(cells, found, strict=True)
    }
    scores = {task.language: score(setup, task) for task in setup.tasks}
    origin = provenance(setup, list(manifests.values()))
    report = table.Report(
        title=setup.title if origin["encoder"] else setup.titled("whole texts"),
        encoder=setup.cfg.encoder.label if origin["encoder"] else "no encoder",
        metrics=[str(metric) for metric in setup.metrics],
        languages=setup.languages,
        retrievers=list(setup.cfg.retriever),
        per_query={(name, task.language): scores[task.language][name] for name, task in cells},
        provenance=origin,
        comparison=comparison(setup, manifests),
        uncut=[
            name
            for name in setup.cfg.retriever
            if origin["encoder"] and uncut(manifests[name, setup.languages[0]])
        ],
    )
    table.show(report)
    for path in table.write(report, setup.folder / "scores"):
        say(f"  written  {path}")


def read_manifest(path: Path) -> dict[str, Any]:
    """What a run was made with. Raises UserError where it is missing or unfinished."""
    if not path.with_suffix(".json").exists():
        raise UserError(
            f"The run {path} does not exist: run step1_search.py with the same settings first."
        )
    return read_record(path.with_suffix(".json"))


def require_settings(setup: Setup, name: str, manifest: dict[str, Any], path: Path) -> None:
    """Raises UserError where a run was made with other settings than the retriever `name` has now."""
    if manifest["settings"] != (settings := run_settings(setup, name)):
        raise UserError(
            f"The run {path} was made with {manifest['settings']}, configured is {settings}: run step1_search.py again."
        )


def text_differences(
    setup: Setup,
    task: Task,
    manifest: dict[str, Any],
    words: tuple[str, str] = ("there", "asked for"),
) -> list[str]:
    """In what the texts of a run are not those configured now, a line each."""
    return [
        line
        for texts in (document_texts(task.corpus, setup.rules), query_texts(task, setup.rules))
        for line in differences(
            manifest["texts"][texts.name],
            text_identity(setup, texts),
            {"count", "sha256"},
            f"texts.{texts.name}",
            words,
        )
    ]


def uncut(manifest: Mapping[str, Any]) -> bool:
    """Whether a run, or one that it builds on, is over whole texts: the lengths in a table's title are not about it."""
    return find(manifest["settings"]["_target_"]).reads_whole_texts or any(
        map(uncut, manifest["inputs"].values())
    )


def trusted_manifest(setup: Setup, name: str, task: Task) -> dict[str, Any]:
    """What a configured run was made with.

    Raises:
        UserError: it is not what is configured now, texts included, or its weights were tuned on these very queries.
    """
    path = setup.run_path(name, task.language)
    manifest = read_manifest(path)
    require_settings(setup, name, manifest, path)
    refuse_seen(manifest, task)
    for texts in (document_texts(task.corpus, setup.rules), query_texts(task, setup.rules)):
        configured = compression.planned(setup.cfg.store.dense, texts.role).get("dense")
        if (kept := manifest.get("compression", {}).get(texts.name)) and kept != configured:
            raise UserError(
                f"The run {path} is over {compression.words(kept)}: give the same store.dense= as to stage 1."
            )
    if lines := text_differences(setup, task, manifest):
        raise UserError(
            f"The run {path} is of other texts than configured now:\n  " + "\n  ".join(lines)
        )
    return manifest


def score(setup: Setup, task: Task) -> dict[str, Scores]:
    """The scores of every judged query, by retriever."""
    paths = {name: setup.run_path(name, task.language) for name in setup.cfg.retriever}
    return judge(setup, task, ((name, read_run(path)) for name, path in paths.items()))


def judge(
    setup: Setup,
    task: Task,
    runs: Iterable[tuple[str, Run]],
    metrics: Sequence[Metric] | None = None,
) -> dict[str, Scores]:
    """The scores of every judged query, by the name of its run: see `metrics.judge`.

    Args:
        setup: holds the metrics, where `metrics` does not name some of them.
        task: has the judgements.
        runs: name and run, each read when its turn comes.
        metrics: None: all that are configured.

    Raises:
        UserError: the judgements allow no such metric.
    """
    names: list[str] = []

    def in_turn() -> Iterator[Run]:
        for name, run in runs:
            names.append(name)
            yield run

    scores = judge_runs(in_turn(), judgements(setup, task), metrics or setup.metrics)
    return dict(zip(names, scores, strict=True))


def judgements(setup: Setup, task: Task) -> Judgements:
    """By what a language's runs are judged."""
    if task.qrels is not None:
        return DocumentJudgements(task.qrels)
    documents = document_texts(task.corpus, setup.rules)
    return AnswerJudgements(task.answers or {}, documents.read, task.denominator)


def provenance(setup: Setup, manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything the numbers rest on: configuration, versions, encoder, texts, and what each run was made from.

    Runs made without an encoder (BM25) stand beside those of any one encoder.

    Raises:
        UserError: the runs were made by different encoders, which one table must not mix.
    """
    encoders = {
        digest(manifest["encoder"]): manifest["encoder"]
        for manifest in manifests
        if manifest["encoder"]
    }
    encoder, *others = encoders.values() or [None]
    if others:
        lines = "".join(f"\n  {line}" for line in differences(encoder, others[0]))
        raise UserError(
            f"The runs in {setup.folder / 'runs'} come from different encoders:{lines}\nRun step1_search.py again."
        )
    return {
        "config": OmegaConf.to_container(setup.cfg, resolve=True),
        "encoder": encoder,
        "texts": {
            name: texts for manifest in manifests for name, texts in manifest["texts"].items()
        },
        "stores": {
            name: sha256 for manifest in manifests for name, sha256 in manifest["stores"].items()
        },
        "commits": {
            name: commit for manifest in manifests for name, commit in manifest["commits"].items()
        },
        "runs_made_with": sorted({manifest["m3eval"] for manifest in manifests}),
        "evaluated_with": versions(setup.runtime) | engines(),
    }


def comparison(setup: Setup, manifests: dict[tuple[str, str], dict[str, Any]]) -> Comparison | None:
    """What the runs may be held against; None where benchmark or encoder name nothing that is published."""
    benchmark, encoder = setup.cfg.benchmark.get("reference"), setup.cfg.encoder.get("reference")
    if not benchmark or not encoder:
        return None
    partial = {}
    for task in setup.tasks:
        texts = manifests[next(iter(setup.cfg.retriever)), task.language]["texts"]
        remark = compare_counts(task, texts[f"corpus-{task.corpus.name}"]["count"], subset=True)
        if remark or (setup.cfg.benchmark.subset and task.corpus.published is None):
            partial[task.language] = "a subset"
    # Only the paper's withdrawn first versions dropped them, and their numbers are not what Table 1 holds now.
    own_documents = (
        "exclude_self is true, published with false" if setup.retrieval.exclude_self else None
    )
    return Comparison(
        benchmark=benchmark,
        systems=OmegaConf.to_container(encoder.systems),
        tolerance=setup.cfg.tolerance,
        manifests=manifests,
        files=encoder.files,
        general=[*filter(None, [own_documents])],
        partial=partial,
    )
