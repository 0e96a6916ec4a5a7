"""Finished runs: what they were made with, and their lists as they were written.

Everybody who reads a run of stage 1 reads it here, so nobody reads a damaged or exchanged one.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from m3eval import seals
from m3eval.errors import Missing, UserError
from m3eval.layout import RunFiles
from m3eval.manifests import RunManifest
from m3eval.records import read
from m3eval.retrievers import run as lists
from m3eval.retrievers.run import Run
from m3eval.seals import Seal, Seals

REMEDY = "`m3eval search` makes it anew."


class Unsealed(UserError):
    """A run of an earlier version: nothing tells whether it is as it was written."""

    def __init__(self, run: RunFiles) -> None:
        super().__init__(
            f"The run {run.trec} has no seal, for an earlier version made it: damage could not be "
            f"seen. {REMEDY}"
        )


def seal(run: RunFiles) -> Seals:
    """The seals of a run that was just written."""
    written = [path for path in (run.trec, run.components) if path.exists()]
    return {path.name: Seal.of(path) for path in written}


def manifest_of(run: RunFiles) -> RunManifest:
    """What a run was made with; its files have the sizes that they were written with.

    Raises:
        UserError: it is missing, unfinished, damaged, or of an earlier version without seals.
    """
    if not run.manifest.exists():
        raise Missing(
            "run",
            f"The run {run.trec} does not exist: run `m3eval search` with the same settings first.",
        )
    manifest = read(run.manifest, RunManifest, REMEDY)
    if run.trec.name not in manifest.files:
        raise Unsealed(run)
    for path in (run.trec, run.components):
        if path.name in manifest.files:
            seals.check_size(path, manifest.files[path.name], REMEDY)
    return manifest


def check(run: RunFiles) -> RunManifest:
    """The same, and its files are compared with their seals whole; each once per process."""
    manifest = manifest_of(run)
    for path in (run.trec, run.components):
        if path.name in manifest.files:
            seals.check(path, manifest.files[path.name], REMEDY)
    return manifest


def read_run(run: RunFiles, qids: Collection[str] | None) -> Run:
    """The lists of a finished run.

    Args:
        run: its files.
        qids: the queries of the benchmark: see `retrievers.run.read_run`.

    Raises:
        UserError: it is missing, unfinished, without seals, or not as it was written.
    """
    check(run)
    return lists.read_run(run.trec, qids)


def read_components(run: RunFiles) -> dict[str, tuple[list[str], dict[str, np.ndarray]]]:
    """What a finished hybrid's scores are made of; empty where the run has no such file.

    Raises:
        UserError: as for `read_run`.
    """
    sealed = check(run).files
    return lists.read_components(run.components) if run.components.name in sealed else {}
