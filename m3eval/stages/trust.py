"""Is what lies on disk what is configured now? Stage 1 asks it of stores, readers of runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import Role, text_sets
from m3eval.comparable import Comparable, differences, same_texts
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.layout import RunFiles
from m3eval.manifests import DenseStorage, RunManifest, TextIdentity
from m3eval.records import plain
from m3eval.retrievers import finished
from m3eval.stages.identity import retriever_settings
from m3eval.stages.texts import ReadTexts
from m3eval.stores.store import Store
from m3eval.tuned import refuse_seen_by

Cell = tuple[str, str]  # retriever and language


def open_store(setup: Setup, texts: TextIdentity, role: Role) -> Store:
    """The store of a text set.

    Args:
        setup: the configuration.
        texts: what the set is now.
        role: of its texts.

    Raises:
        UserError: it is missing, unfinished, of other texts, or keeps its vectors otherwise.
    """
    store = Store(setup.layout.store(texts.set).folder)
    if not store.is_sealed:
        _warn(store.path)
    same_texts({texts.set: store.plan.texts}, [texts]).require(
        f"The store {store.path} is of other texts than configured now",
        "Use the texts of stage 0, another benchmark.name=, or run `m3eval embed` with "
        "overwrite=true.",
    )
    if "dense" in store.plan.representations:
        wanted = DenseStorage.configured(setup.cfg.store.dense, role)
        differing = differences(
            plain(store.plan.dense) or {}, plain(wanted) or {}, where="store.dense"
        )
        Comparable.by(differing).require(
            f"The store {store.path} keeps its vectors otherwise than configured now",
            "Use the settings of stage 0, or run `m3eval embed` with overwrite=true.",
        )
    return store


@functools.cache  # languages may share a corpus
def _warn(store: Path) -> None:
    say(f"  {store} is not sealed: damage to it cannot be seen. `m3eval embed` seals it.")


def manifest_of(setup: Setup, run: RunFiles, task: Task, name: str | None) -> RunManifest:
    """What a run was made with, wherever it lies.

    Args:
        setup: the configuration.
        run: its files.
        task: the language.
        name: of the configured retriever whose settings it must have; None: it may have others.

    Raises:
        UserError: it is missing, was made with other settings, or its weights were tuned on any of
            these queries.
    """
    manifest = finished.manifest_of(run)
    refuse_seen_by(manifest, task)
    if name is not None:
        settings = retriever_settings(setup, name)
        words = ("in the run", "configured")
        Comparable.by(differences(manifest.settings, settings), words).require(
            f"The run {run.trec} was made with other settings than configured now",
            "Run `m3eval search` again.",
        )
    return manifest


def of_configured_texts(
    setup: Setup,
    task: Task,
    manifest: RunManifest,
    words: tuple[str, str] = ("there", "asked for"),
) -> Comparable:
    """Whether a run, and those it builds on, are over the texts that are configured now."""
    verdict = same_texts(manifest.texts, setup.once(ReadTexts).identities(task), words)
    for run in manifest.inputs.values():
        verdict += of_configured_texts(setup, task, run, words)
    return verdict


def trusted_manifest(setup: Setup, name: str, task: Task) -> RunManifest:
    """What a configured run was made with.

    Raises:
        UserError: it is not what is configured now, texts and storage included, or its weights were
            tuned on any of these queries.
    """
    run = setup.layout.run(name, task.language)
    manifest = manifest_of(setup, run, task, name)
    for texts in text_sets(task, setup.rules):
        storage = manifest.compression.get(texts.name)
        wanted = DenseStorage.configured(setup.cfg.store.dense, texts.role)
        if storage != wanted and (storage or _reads_dense_vectors(setup, manifest)):
            raise UserError(
                f"The run {run.trec} is over {storage or 'whole float16 vectors'}, and store.dense "
                f"asks for {wanted or 'whole float16 vectors'}: give the same store.dense= as to "
                "stage 1, or run `m3eval search` again."
            )
    of_configured_texts(setup, task, manifest).require(
        f"The run {run.trec} is of other texts than configured now",
        "Run `m3eval search` again, or give the texts that it was made of.",
    )
    return manifest


def trusted_manifests(setup: Setup, cells: Sequence[Cell] | None = None) -> dict[Cell, RunManifest]:
    """What configured runs were made with.

    Args:
        setup: the configuration.
        cells: the runs; None: all that are configured, one retriever after the other.

    Raises:
        UserError: runs are missing or not what is configured now. All of them are named together.
    """
    tasks = {task.language: task for task in setup.tasks}
    if cells is None:
        cells = [(str(name), language) for name in setup.cfg.retriever for language in tasks]
    manifests = together(
        [
            functools.partial(trusted_manifest, setup, name, tasks[language])
            for name, language in cells
        ]
    )
    return dict(zip(cells, manifests, strict=True))


def _reads_dense_vectors(setup: Setup, manifest: RunManifest) -> bool:
    """Whether a run, or one that it builds on, rests on dense vectors of stores."""
    if not manifest.stores:
        return False
    own = setup.recorded_retriever(manifest.settings.target).stored
    return "dense" in own or any(
        _reads_dense_vectors(setup, run) for run in manifest.inputs.values()
    )
