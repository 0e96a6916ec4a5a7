"""The operating system's errors in words: what it refused, at which path, and what helps.

Code raises and lets pass plain OSErrors. They become words at the edge only: where a command ends
(`cli.run`), and where a process of stage 0 tells its parent why it stopped.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from m3eval.console import size
from m3eval.errors import UserError

KEPT = "What is finished is kept: run the same command again then."
LESS_MEMORY = (
    "set runtime.search_block, runtime.shard_size, runtime.token_budget, runtime.threads or "
    f"runtime.processes lower. {KEPT}"
)
OTHER_FOLDER = "choose another folder (output_dir= for outputs)"
# What the system refuses for other reasons than the file that was to be read.
NOT_OF_THE_FILE = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.EACCES,
    errno.EPERM,
}
NO_THREAD = "can't start new thread"  # Python's RuntimeError where a system starts no more


@contextmanager
def writing(path: Path, part: Path) -> Iterator[None]:
    """Names the file or folder whose writing failed: an error of `write` has no path itself.

    Args:
        path: what was to appear.
        part: what it is written to.

    Raises:
        OSError: with `path`, and a note how far it came.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        located = OSError(error.errno, error.strerror, str(path))
        located.add_note(f"{size(_bytes(part))} of it had been written")
        raise located from error


def pass_on(error: BaseException) -> None:
    """Raises an error again that says nothing of the file, such as that no more may be open.

    For whoever is about to say that a file is damaged, or no such file: it is not known to be.
    """
    if isinstance(error, OSError) and error.errno in NOT_OF_THE_FILE:
        raise error


def in_words(error: BaseException) -> UserError | None:
    """What an error of the system says to the user. None: it is no such error."""
    if isinstance(error, MemoryError):
        return UserError(f"Memory ran out{f' ({error})' if str(error) else ''}: {LESS_MEMORY}")
    if isinstance(error, RuntimeError) and NO_THREAD in str(error):
        return UserError(_limit("the system starts no more threads", "ulimit -u"))
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        _, copy, why = error.args[0][0]  # of all files that could not be copied, the first
        return UserError(f"{copy}: {why}. {KEPT}")
    number = error.errno if isinstance(error, OSError) else None
    if not isinstance(error, OSError) or number is None or number not in errno.errorcode:
        return None  # libraries raise OSErrors of their own, without a number
    path = _path(error)
    words = WORDS.get(number, _as_it_is)(path, error)
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return UserError(f"{path or 'The system'}{notes}: {words}")


def _path(error: OSError) -> Path | None:
    """The file that an error is about; of a renaming, the new name."""
    named = error.filename2 if error.filename2 is not None else error.filename
    return Path(os.fsdecode(named)) if isinstance(named, str | bytes) else None


def _bytes(part: Path) -> int:
    """Of a file, or of the files in a folder."""
    files = [part, *part.rglob("*")] if part.is_dir() else [part]
    return sum(file.stat().st_size for file in files if file.is_file())


def _folder(path: Path | None) -> Path:
    """The nearest folder that exists."""
    try:
        start = (path or Path()).absolute()
    except FileNotFoundError:  # the current folder was removed
        return Path()
    return next(folder for folder in (start, *start.parents) if os.path.isdir(folder))


def _full(path: Path | None, error: OSError) -> str:
    folder = _folder(path)
    usage, files = shutil.disk_usage(folder), os.statvfs(folder)
    room = f"{size(usage.free)} of {size(usage.total)} are free"
    if files.f_files and not files.f_favail:
        room += ", and no file more may be made"
    return f"the disk of {folder} is full ({room}). Make room there, or {OTHER_FOLDER}. {KEPT}"


def _quota(path: Path | None, error: OSError) -> str:
    return (
        f"your quota on the disk of {_folder(path)} is used up. Remove files there, or "
        f"{OTHER_FOLDER}. {KEPT}"
    )


def _too_large(path: Path | None, error: OSError) -> str:
    import resource  # not on Windows, which has no such limit

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    most = f" (this shell's: {size(limit)})" if limit != resource.RLIM_INFINITY else ""
    return (
        f"a file may not become so large here{most}. Raise the limit (ulimit -f unlimited), set "
        f"runtime.shard_size lower, or {OTHER_FOLDER}. {KEPT}"
    )


def _read_only(path: Path | None, error: OSError) -> str:
    return f"{_folder(path)} lies on a disk that can only be read: {OTHER_FOLDER}."


def _forbidden(path: Path | None, error: OSError) -> str:
    who = f"user {os.getuid()}" if hasattr(os, "getuid") else "you"
    there = path if path and os.path.exists(path) else _folder(path)
    status = there.stat()
    return (
        f"{who} has not the permission; {there} belongs to user {status.st_uid}, mode "
        f"{status.st_mode & 0o7777:o}. Get it (chmod, chown), or {OTHER_FOLDER}."
    )


def _gone(path: Path | None, error: OSError) -> str:
    if path is None:
        return f"{error.strerror}."
    return (
        f"it does not exist; of its path there is {_folder(path)}. It was never there, or another "
        "program has removed it meanwhile: run the same command again to have it made, or name the "
        "right path."
    )


def _no_folder(path: Path | None, error: OSError) -> str:
    above = path.parents if path else ()
    wrong = next((each for each in above if os.path.isfile(each)), path)
    return f"{wrong} is a file, and a folder is needed there: {OTHER_FOLDER}, or move the file."


def _is_folder(path: Path | None, error: OSError) -> str:
    return "it is a folder, and a file is needed there: move the folder, or name another path."


def _in_the_way(path: Path | None, error: OSError) -> str:
    return (
        "something stands there already. If no other process is writing there, remove it and run "
        "the same command again."
    )


def _name(path: Path | None, error: OSError) -> str:
    return (
        "a name in this path is too long for its disk (255 bytes on most). Choose shorter names: "
        "benchmark.name=, encoder.name=, output_dir=."
    )


def _files(path: Path | None, error: OSError) -> str:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _limit(f"more files are open than this process may have ({limit:,})", "ulimit -n 65536")


def _processes(path: Path | None, error: OSError) -> str:
    return _limit("the system starts no more processes or threads", "ulimit -u")


def _limit(what: str, command: str) -> str:
    return (
        f"{what}. Raise the limit ({command}), or set runtime.threads or runtime.processes lower. "
        f"{KEPT}"
    )


def _memory(path: Path | None, error: OSError) -> str:
    return f"memory ran out: {LESS_MEMORY}"


def _broken(path: Path | None, error: OSError) -> str:
    return (
        f"the disk of {_folder(path)} reports an error ({error.strerror}): it is damaged, or was "
        f"taken away. See the system's log, and {OTHER_FOLDER}. {KEPT}"
    )


def _as_it_is(path: Path | None, error: OSError) -> str:
    return f"{error.strerror} (the system's error {errno.errorcode[error.errno or 0]}). {KEPT}"


WORDS: dict[int, Callable[[Path | None, OSError], str]] = {
    errno.ENOSPC: _full,
    errno.EDQUOT: _quota,
    errno.EFBIG: _too_large,
    errno.EROFS: _read_only,
    errno.EACCES: _forbidden,
    errno.EPERM: _forbidden,
    errno.ENOENT: _gone,
    errno.ENOTDIR: _no_folder,
    errno.EISDIR: _is_folder,
    errno.EEXIST: _in_the_way,
    errno.ENOTEMPTY: _in_the_way,
    errno.ENAMETOOLONG: _name,
    errno.EMFILE: _files,
    errno.ENFILE: _files,
    errno.EAGAIN: _processes,
    errno.ENOMEM: _memory,
    errno.EIO: _broken,
    errno.ESTALE: _broken,
}
