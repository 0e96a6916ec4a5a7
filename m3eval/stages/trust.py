"""Is what lies on disk what is configured now? Stage 1 asks it of stores, readers of runs."""

from __future__ import annotations

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import TextSet, text_sets
from m3eval.comparable import Comparable, differences, same_texts
from m3eval.config import Setup
from m3eval.errors import Missing, UserError
from m3eval.layout import RunFiles
from m3eval.manifests import DenseStorage, RunManifest
from m3eval.records import plain, read
from m3eval.stages.identity import retriever_settings, text_identity
from m3eval.stores.store import Store
from m3eval.tuned import refuse_seen_by


def open_store(setup: Setup, texts: TextSet) -> Store:
    """The store of a text set.

    Raises:
        UserError: it is missing, unfinished, of other texts, or keeps its vectors otherwise.
    """
    store = Store(setup.layout.store(texts.name).folder)
    configured = [text_identity(setup, texts)]
    same_texts({texts.name: store.plan.texts}, configured).require(
        f"The store {store.path} is of other texts than configured now"
    )
    if "dense" in store.plan.representations:
        wanted = DenseStorage.configured(setup.cfg.store.dense, texts.role)
        differing = differences(
            plain(store.plan.dense) or {}, plain(wanted) or {}, where="store.dense"
        )
        Comparable.by(differing).require(
            f"The store {store.path} keeps its vectors otherwise than configured now",
            "Use the settings of stage 0, or run `m3eval embed` with overwrite=true.",
        )
    return store


def read_manifest(run: RunFiles) -> RunManifest:
    """What a run was made with. Raises UserError where it is missing or unfinished."""
    if not run.manifest.exists():
        raise Missing(
            "run",
            f"The run {run.trec} does not exist: run `m3eval search` with the same settings first.",
        )
    return read(run.manifest, RunManifest, "Run `m3eval search` again.")


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
    manifest = read_manifest(run)
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
    """Whether a run is over the texts that are configured now."""
    configured = [text_identity(setup, texts) for texts in text_sets(task, setup.rules)]
    return same_texts(manifest.texts, configured, words)


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
        if storage and storage != DenseStorage.configured(setup.cfg.store.dense, texts.role):
            raise UserError(
                f"The run {run.trec} is over {storage}: give the same store.dense= as to stage 1."
            )
    of_configured_texts(setup, task, manifest).require(
        f"The run {run.trec} is of other texts than configured now"
    )
    return manifest
