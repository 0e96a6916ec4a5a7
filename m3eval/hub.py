"""The hub: files of a repository, downloaded once into its cache or lying in a mirror.

Files are read as data. Code of a repository is never run from here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from m3eval.console import say
from m3eval.errors import UserError

SUMS = "SHA256SUMS"  # a file of checksums that `m3eval mirror` writes into every repository
HUB = "https://huggingface.co"  # where the client goes unless HF_ENDPOINT says otherwise
COMMIT = re.compile(r"[0-9a-f]{40}")
PART = re.compile(r"(?P<name>.+)-\d+-of-(?P<count>\d+)(?P<ending>\.\w+)")
PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


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
    if root is not None:
        require_recorded(folder, files)
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


def require_recorded(folder: Path, files: Files) -> None:
    """Refuses a mirror that lost a file which its own checksums name.

    Raises:
        UserError: names the file. Or parts are missing: see `require_parts`.
    """
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines()[1:] if sums.exists() else []
    names = [PurePosixPath(line.partition("  ")[2]) for line in lines]
    wanted = [name for name in names if any(name.match(each) for each in files.patterns)]
    if lost := [str(name) for name in wanted if not (folder / name).exists()]:
        raise UserError(
            f"{folder} has lost {', '.join(lost)}, which its {SUMS} names: fetch them with "
            "`m3eval mirror` and the same settings."
        )
    require_parts(folder, files)


def download(files: Files, mirror: str) -> Path:
    """Downloads the files that the hub's cache lacks.

    Of a commit whose files are all in the cache, the hub is not asked. Where it cannot be reached,
    or refuses, what the cache has of a branch or tag is read: the client does so by itself where
    nothing answers, and one line says so where it gives up.

    Args:
        files: which files.
        mirror: the setting that names a local copy, for the error message.

    Returns:
        The folder of the repository in the cache. It may hold other files too.

    Raises:
        UserError: the cache lacks files and the hub cannot be reached, or the hub refuses.
    """
    if COMMIT.fullmatch(files.revision or "") and (folder := cached(files, known_whole=True)):
        return folder
    try:
        require_endpoint()
        return require_parts(_snapshot(files), files)
    except failures() as error:
        if folder := cached(files):
            say(
                f"{files.repository}: the hub's cache is read, at {commit(folder)}, because the "
                f"hub gave: {reason(error)}"
            )
            return folder
        raise explained(error, files, _without_network(files, mirror)) from error


def cached(files: Files, known_whole: bool = False) -> Path | None:
    """The folder of a repository in the hub's cache, where that has all files; else None.

    Args:
        files: which files.
        known_whole: take no folder of which the client did not note what it must hold.
    """
    try:
        if known_whole and not _is_listed(files):
            return None
        return require_parts(_snapshot(files, local_files_only=True), files)
    except (UserError, OSError, ValueError):  # the client's words for what is not there
        return None


def require_parts(folder: Path, files: Files) -> Path:
    """Refuses a folder that has some of the parts of a file and not all.

    Files of one table are called ``name-00003-of-00008.parquet``.

    Raises:
        UserError: says how many there are, and of how many.
    """
    there: dict[tuple[str, int], int] = {}
    for path in {path for pattern in files.patterns for path in folder.glob(pattern)}:
        if found := PART.fullmatch(path.relative_to(folder).as_posix()):
            key = (found["name"] + found["ending"], int(found["count"]))
            there[key] = there.get(key, 0) + 1
    for (name, count), n in there.items():
        if n != count:
            raise UserError(
                f"{folder} has {n} of the {count} parts of {name}: run the same command again "
                "where the hub can be reached, or `m3eval mirror` for a mirror."
            )
    return folder


def explained(error: Exception, files: Files, unreachable: str) -> UserError:
    """What to say where the hub's client gave up: its reason, the setting, the remedy.

    Args:
        error: what the client, or `require_endpoint`, raised.
        files: what was asked for.
        unreachable: the remedy where nothing answers.
    """
    from huggingface_hub import constants, errors

    if isinstance(error, UserError):
        return error
    cause = _root(error)
    response = getattr(cause, "response", None)
    status = getattr(response, "status_code", None)
    what = f"{files.kind} {files.repository}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return UserError(
            f"The {what} has no revision {files.revision!r} on the hub: give a commit, a tag or a "
            "branch."
        )
    if isinstance(cause, errors.RepositoryNotFoundError) or status in (401, 403):
        return UserError(
            f"The hub does not give out the {what} ({reason(cause)}): check its name, accept its "
            "terms on its page, then run `hf auth login` or set HF_TOKEN to a token that is valid."
        )
    if isinstance(cause, errors.EntryNotFoundError) and status == 404:
        return UserError(
            f"{constants.ENDPOINT} lists a file of the {what} that it does not have "
            f"({reason(cause)}): unset HF_ENDPOINT, or set it to an endpoint that is whole."
        )
    if isinstance(cause, errors.FileMetadataError):
        return UserError(
            f"{constants.ENDPOINT} does not say which commit of the {what} it gives "
            f"({reason(cause)}): unset HF_ENDPOINT, or set it to an endpoint that answers as the "
            "hub does."
        )
    if isinstance(cause, errors.OfflineModeIsEnabled):
        settings = " HF_HUB_OFFLINE is set: unset it."
    else:
        proxies = [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
        settings = f" {' and '.join(proxies)} is set: is that right?" if proxies else ""
        if constants.ENDPOINT != HUB:
            settings += f" HF_ENDPOINT={constants.ENDPOINT} is asked: is that right?"
    return UserError(
        f"The {what} is not in the hub's cache, and the hub cannot be reached ({reason(cause)})."
        f"{settings}{unreachable}"
    )


def require_endpoint() -> None:
    """Raises UserError where HF_ENDPOINT is no address."""
    from huggingface_hub import constants

    if not re.match(r"https?://[^/]", constants.ENDPOINT):
        raise UserError(
            f"HF_ENDPOINT={constants.ENDPOINT} is no address: begin it with https:// or http://, "
            "or unset it."
        )


def reason(error: Exception) -> str:
    """What the client says, in one line, with its name for it."""
    cause = _root(error)
    words = next((line for line in str(cause).splitlines() if line.strip()), "")
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__


def failures() -> tuple[type[Exception], ...]:
    """The exceptions that the hub's client raises when it cannot connect, is cut off or refused."""
    from huggingface_hub.errors import HfHubHTTPError

    # The client changed its HTTP library twice (requests, httpx, httpx2). Errors of whichever it
    # uses are caught through the bases of the client's own error, which derives from them. An
    # ImportError is a SOCKS proxy without the package that speaks to it.
    return (*HfHubHTTPError.__bases__, OSError, ValueError, ImportError, UserError)


def _root(error: Exception) -> Exception:
    """The reason behind the client's word for a file that is not in its cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _snapshot(files: Files, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        files.repository,
        repo_type=files.kind,
        revision=files.revision,
        allow_patterns=list(files.patterns),
        ignore_patterns=list(files.ignored),
        local_files_only=local_files_only,
    )
    return Path(folder)


def _is_listed(files: Files) -> bool:
    """Whether the client, which does so since version 2, noted all files of the commit."""
    try:
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError
    except ImportError:
        return False
    try:
        get_cached_repo_tree(files.repository, repo_type=files.kind, revision=files.revision)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def _without_network(files: Files, mirror: str) -> str:
    words = ["hf download", files.repository, "--repo-type", files.kind]
    if files.kind == "dataset":
        words += [f"--include '{pattern}'" for pattern in files.patterns]
    return (
        f"\n  with a network:         {' '.join(words)}\n"
        f"  with a local copy:      {mirror}\n"
        f"  to see m3eval at work:  experiment=demo, which needs no network"
    )
