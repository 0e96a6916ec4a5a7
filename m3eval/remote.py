"""An object store behind a URL: list, get, put, remove, and what it refuses in words.

fsspec speaks to it: `s3://` needs s3fs (`pip install 'm3eval[objects]'`). An object appears whole
or not at all, and one that is there can be refused to be replaced (S3: `If-None-Match: *`).
"""

from __future__ import annotations

import errno
import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from m3eval.errors import UserError

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Where the files of such a URL are, nothing is to be put, or a folder would do.
NO_OBJECTS = {"file", "local", "http", "https"}
# What this machine refuses, and no object store: the system's own words are for that.
OF_THIS_MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
# Packages whose errors say what a store or the way to it refused.
CLIENTS = {"botocore", "aiobotocore", "aiohttp", "fsspec", "gcsfs", "google", "adlfs", "azure"}
KEPT = "What was made is kept on this machine: run the same command again then."


def is_url(word: str | Path) -> bool:
    """Whether a word names an object store, and not a folder."""
    return URL.match(str(word)) is not None


def require_folder(word: str, setting: str) -> str:
    """The word of a setting that takes a folder or file of this machine.

    Raises:
        UserError: it is a URL.
    """
    if is_url(word):
        raise UserError(
            f"{setting}={word}: a folder of this machine is needed here; object stores hold what "
            "the three stages write (output_dir=)."
        )
    return word


@dataclass(frozen=True)
class Object:
    """What an object store says of one of its objects."""

    size: int  # bytes
    version: str  # another whenever the content is another


@dataclass(frozen=True)
class ObjectStore:
    """The objects below a URL, by the rest of their names."""

    url: str  # without a slash at the end

    @classmethod
    def at(cls, url: str) -> ObjectStore:
        """The one of a URL.

        Raises:
            UserError: no such URL is for object stores, it holds a password, or what speaks to it
                is not installed.
        """
        scheme, _, rest = url.partition("://")
        if scheme.lower() in NO_OBJECTS:
            raise UserError(
                f"{url}: {scheme}:// is no object store: give a folder by its path, or a URL such "
                "as s3://bucket/folder."
            )
        if "@" in rest.partition("/")[0] or "?" in rest:
            raise UserError(
                f"{url}: a URL of an object store holds no user, password or parameter. Give "
                "credentials by the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "AWS_PROFILE), and an address of your own by AWS_ENDPOINT_URL."
            )
        if not rest.strip("/"):
            raise UserError(f"{url} names no bucket: give s3://bucket/folder.")
        store = cls(url.rstrip("/"))
        _ = store.files  # what speaks to it is there, or that is said now
        return store

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            fsspec = importlib.import_module("fsspec")
            # Others' instances may know another address, or keep listings.
            return fsspec.core.url_to_fs(self.url, skip_instance_cache=True)
        except ImportError as error:
            raise UserError(
                f"{self.url}: what speaks to such an object store is not installed ({error}): pip "
                "install 'm3eval[objects]' for s3://, or fsspec's package for another."
            ) from error
        except ValueError as error:
            raise UserError(f"{self.url}: {error}: give a URL such as s3://bucket.") from error

    @property
    def files(self) -> Any:
        """The fsspec file system."""
        return self._opened[0]

    @property
    def root(self) -> str:
        """What all names begin with, as the file system has it."""
        return self._opened[1].rstrip("/")

    def said(self, name: str) -> str:
        """The URL of an object, for people."""
        return f"{self.url}/{name}"

    def objects(self, below: str = "") -> dict[str, Object]:
        """The objects of which names begin with a folder, by name.

        Raises:
            UserError: there is no such bucket, access is refused, or it cannot be reached.
        """
        root = f"{self.root}/{below}".rstrip("/")
        with self._in_words(self.said(below)):
            self.files.invalidate_cache()
            found: Mapping[str, Any] = self.files.find(root, detail=True)
        return {
            path.removeprefix(self.root).lstrip("/"): _object(info)
            for path, info in found.items()
            if not path.endswith("/")  # what consoles make so that a folder is seen
        }

    def put(self, path: Path, name: str, new: bool) -> Object:
        """Puts a file, whole or not at all.

        Args:
            path: the file.
            name: of the object.
            new: an object that is there is not replaced.

        Raises:
            FileExistsError: it is new, and there already.
            UserError: as for `objects`.
        """
        mode = "create" if new else "overwrite"
        with self._in_words(self.said(name)):
            self.files.put_file(str(path), f"{self.root}/{name}", mode=mode)
            return self._info(name)

    def object(self, name: str) -> Object | None:
        """An object; None: there is none. Raises UserError as `objects` does."""
        with self._in_words(self.said(name)):
            try:
                return self._info(name)
            except FileNotFoundError:
                return None

    def _info(self, name: str) -> Object:
        self.files.invalidate_cache()
        return _object(self.files.info(f"{self.root}/{name}"))

    def get(self, names: Mapping[str, Path]) -> None:
        """Writes objects into files, several at a time.

        Args:
            names: name of an object -> its file.

        Raises:
            UserError: as for `objects`.
        """
        if not names:
            return
        with self._in_words(self.said(next(iter(names)) if len(names) == 1 else "")):
            self.files.get([f"{self.root}/{name}" for name in names], [*map(str, names.values())])

    def remove(self, name: str) -> None:
        """Removes an object, if it is there. Raises UserError as `objects` does."""
        with self._in_words(self.said(name)), suppress(FileNotFoundError):
            self.files.rm_file(f"{self.root}/{name}")

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        """Says what the store refused. What this machine refuses passes as it is."""
        try:
            yield
        except FileExistsError:
            raise
        except Exception as error:
            of_client = type(error).__module__.partition(".")[0] in CLIENTS
            ours = getattr(error, "errno", None) in OF_THIS_MACHINE
            if ours or not (of_client or isinstance(error, OSError)):
                raise
            raise UserError(f"{what}: {_refusal(error)}") from error


def _refusal(error: Exception) -> str:
    """What a store refused, and the remedy: the rest of a sentence."""
    detail = str(error).strip().rstrip(".") or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return (
            f"it is not there ({detail}). Create the bucket, give another output_dir=, or, where "
            "another program removes objects, run the same command again."
        )
    if isinstance(error, PermissionError):
        return (
            f"access is refused ({detail}). Give credentials that may list, read, write and remove "
            f"there (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE). {KEPT}"
        )
    if "Credential" in type(error).__name__:
        return (
            f"there are no credentials ({detail}). Set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, or AWS_PROFILE. {KEPT}"
        )
    return (
        f"it cannot be reached, or answers with an error ({detail}). See that the network and its "
        f"address (AWS_ENDPOINT_URL) are right. {KEPT}"
    )


def _object(info: Mapping[str, Any]) -> Object:
    """What a file system says of an object."""
    keys = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created")
    version: Any = next((info[key] for key in keys if info.get(key) is not None), "")
    if isinstance(version, datetime):  # some file systems have either, depending on who asks
        version = version.timestamp()
    return Object(int(info["size"]), str(version))
