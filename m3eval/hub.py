"""The hub: files of a repository, downloaded once into its cache or lying in a mirror.

Files are read as data. Code of a repository is never run from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from m3eval.errors import UserError

SUMS = "SHA256SUMS"  # a file of checksums that `m3eval mirror` writes into every repository


class Files(NamedTuple):
    """Files of one repository."""

    repository: str  # its id on the hub, such as BAAI/bge-m3
    revision: str | None  # a commit, tag or branch; None: the main branch
    patterns: Sequence[str]  # globs of the files
    kind: Literal["model", "dataset"] = "dataset"
    ignored: Sequence[str] = ()  # globs of files to leave out although they match `patterns`


def fetch(files: Files, root: str | None) -> Path:
    """Gets a benchmark's files.

    Args:
        files: which files.
        root: the folder of a mirror, which has a folder for every repository; None: the hub.

    Returns:
        The folder of the repository, in the mirror or in the hub's cache.

    Raises:
        UserError: a pattern matches no file in it, or the hub is out of reach.
    """
    repository = files.repository
    if root is None:
        folder = download(files, f"benchmark.root=/mirror, the files being in /mirror/{repository}")
    else:
        folder = Path(root).expanduser() / repository
    if missing := [pattern for pattern in files.patterns if not any(folder.glob(pattern))]:
        raise UserError(
            f"{repository} has no files {' and no '.join(missing)} in {folder}: check languages= "
            "and benchmark.split=. If a mirror lacks them, fetch them with `m3eval mirror` and the "
            "same settings."
        )
    return folder


def commit(folder: Path) -> str | None:
    """The commit of a folder that `fetch` returned; None where nothing tells it.

    The hub's cache names its folders by the commit. A mirror has the commit in the first line of
    its checksums. A folder that somebody filled by hand has neither.
    """
    if folder.parent.name == "snapshots":
        return folder.name
    if not (folder / SUMS).exists():
        return None
    with (folder / SUMS).open(encoding="utf-8") as file:
        return file.readline().split()[-1]


def download(files: Files, mirror: str) -> Path:
    """Downloads the files that the hub's cache lacks.

    Args:
        files: which files.
        mirror: the setting that names a local copy, for the error message.

    Returns:
        The folder of the repository in the cache. It may hold other files too.

    Raises:
        UserError: the cache lacks files and the hub cannot be reached, or the hub refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, revision, patterns, kind, ignored = files
    try:
        folder = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(ignored),
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise UserError(
            f"The hub does not give out the {kind} {repository} ({type(error).__name__}): check "
            "its name, accept its terms on its page, then run `hf auth login` or set HF_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"The {kind} {repository} has no revision {revision!r} on the hub: give a commit, a "
            "tag or a branch."
        ) from error
    except out_of_reach() as error:
        words = ["hf download", repository, "--repo-type", kind]
        if kind == "dataset":
            words += [f"--include '{pattern}'" for pattern in patterns]
        raise UserError(
            f"The {kind} {repository} is not in the hub's cache, and the hub cannot be reached "
            f"({type(error).__name__}).\n"
            f"  with a network:         {' '.join(words)}\n"
            f"  with a local copy:      {mirror}\n"
            f"  to see m3eval at work:  experiment=demo, which needs no network"
        ) from error
    return Path(folder)


def out_of_reach() -> tuple[type[Exception], ...]:
    """The exceptions that the hub's client raises when it cannot connect or is cut off."""
    from huggingface_hub.errors import HfHubHTTPError

    # The client changed its HTTP library twice (requests, httpx, httpx2). Errors of whichever it
    # uses are caught through the bases of the client's own error, which derives from them.
    return (*HfHubHTTPError.__bases__, OSError, ValueError)
