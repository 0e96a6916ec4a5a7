"""The hub: plain files of a repository, downloaded once into its cache, or lying in a mirror. No code of one is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from m3eval.errors import UserError

SUMS = "SHA256SUMS"  # in every repository of a mirror, see mirror.py
# The client changed its HTTP library twice (requests, httpx, httpx2); its own error derives from that library's.
OUT_OF_REACH = (*HfHubHTTPError.__bases__, OSError, ValueError)


class Files(NamedTuple):
    """Files of one repository."""

    repository: str  # id on the hub, such as BAAI/bge-m3
    revision: str | None  # commit, tag or branch; None for the main branch
    patterns: Sequence[str]  # globs
    kind: Literal["model", "dataset"] = "dataset"
    ignored: Sequence[str] = ()  # globs of files not wanted although they match


def fetch(files: Files, root: str | None) -> Path:
    """The folder that has a benchmark's files: {root}/{repository} of a mirror, or in the hub's cache.

    Raises:
        UserError: a pattern matches no file there, or the hub is out of reach.
    """
    repository = files.repository
    if root is None:
        folder = download(files, f"benchmark.root=/mirror, the files being in /mirror/{repository}")
    else:
        folder = Path(root).expanduser() / repository
    if missing := [pattern for pattern in files.patterns if not any(folder.glob(pattern))]:
        raise UserError(
            f"{repository} has no files {' and no '.join(missing)} in {folder}: check languages= and benchmark.split=, or "
            "fetch what a mirror lacks with `python -m m3eval.mirror` and the same settings."
        )
    return folder


def commit(folder: Path) -> str | None:
    """The commit of a folder that `fetch` gave: the cache names its folders so, a mirror says it in the first line of its
    checksums. None for a folder that somebody filled by hand.
    """
    if folder.parent.name == "snapshots":
        return folder.name
    if not (folder / SUMS).exists():
        return None
    with (folder / SUMS).open(encoding="utf-8") as file:
        return file.readline().split()[-1]


def download(files: Files, mirror: str) -> Path:
    """The cached folder of a repository with at least the files that match.

    Args:
        files: what is wanted.
        mirror: how to configure a local copy, for the error message.

    Raises:
        UserError: the hub cannot be reached and its cache lacks the files, or it refuses; says what to do.
    """
    repository, revision, patterns, kind, ignored = files
    try:
        return Path(
            snapshot_download(
                repository,
                repo_type=kind,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
            )
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise UserError(
            f"The hub does not give out the {kind} {repository} ({type(error).__name__}): check its name, accept its terms on "
            "its page, then run `hf auth login` or set HF_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"The {kind} {repository} has no revision {revision!r} on the hub: give a commit, tag or branch."
        ) from error
    except OUT_OF_REACH as error:
        wanted = (
            " ".join(f"--include '{pattern}'" for pattern in patterns) if kind == "dataset" else ""
        )
        raise UserError(
            f"The {kind} {repository} is not in the hub's cache, and the hub cannot be reached ({type(error).__name__}).\n"
            f"  with a network:         hf download {repository} --repo-type {kind} {wanted}".rstrip()
            + "\n"
            f"  with a local copy:      {mirror}\n"
            f"  to see m3eval at work:  experiment=demo, which needs no network"
        ) from error
