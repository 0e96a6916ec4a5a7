"""The hub: plain files of a repository, downloaded once into its cache. No code of a repository is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from m3eval.errors import UserError


def download(
    repository: str,
    kind: Literal["model", "dataset"],
    revision: str | None,
    patterns: Sequence[str],
    ignored: Sequence[str],
    mirror: str,
) -> Path:
    """The cached folder of a repository with at least the files that match.

    Args:
        repository: id on the hub, such as ``BAAI/bge-m3``.
        kind: what sort of repository it is.
        revision: commit, tag or branch; None for the main branch.
        patterns: globs of the files wanted.
        ignored: globs of files not wanted although they match.
        mirror: how to configure a local copy, for the error message.

    Raises:
        UserError: the hub cannot be reached and its cache lacks the files, or it refuses; says what to do.
    """
    try:
        return Path(
            snapshot_download(
                repository, repo_type=kind, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(ignored)
            )
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise UserError(
            f"The hub does not give out the {kind} {repository} ({type(error).__name__}): check its name, accept its terms on "
            "its page, then run `hf auth login` or set HF_TOKEN."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        wanted = " ".join(f"--include '{pattern}'" for pattern in patterns) if kind == "dataset" else ""
        raise UserError(
            f"The {kind} {repository} is not in the hub's cache, and the hub cannot be reached ({type(error).__name__}).\n"
            f"  with a network:         hf download {repository} --repo-type {kind} {wanted}".rstrip()
            + "\n"
            f"  with a local copy:      {mirror}\n"
            f"  to see m3eval at work:  experiment=demo, which needs no network"
        ) from error
