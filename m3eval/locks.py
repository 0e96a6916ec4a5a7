"""One writer at a time: a lock file beside what is written says who writes it.

The kernel's lock (flock) decides among the processes of one machine, and ends with its process.
Across machines that share a folder, a network file system may have no such lock, or keep it to each
machine. So the file also names its holder, who touches it every minute: what another machine holds
is taken over only once it was not touched for ten minutes.

Several may write together where what they write does not depend on who does. Each of them then
holds a file of its own beside the lock (`shared`), and whoever wants it alone looks at all of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from m3eval.errors import UserError
from m3eval.oserrors import writing

try:
    import fcntl
except ImportError:  # not a POSIX system: as a file system without flock
    fcntl = None

SHARING = ".{}.sharing"  # behind the name of a lock: who holds it together with others
TOUCHED_EVERY = 60.0  # seconds
DEAD_AFTER = 600.0  # seconds without a touch
ASKED_EVERY = 0.2  # seconds, by who waits for a lock
SETTLED_AFTER = 0.5  # seconds after which two that wrote at once see who was last
LOOKED_AT = 0.05  # seconds for which another process, which only looks, may keep a lock
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
BOOT = Path("/proc/sys/kernel/random/boot_id")  # one for all containers of a machine


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock."""

    host: str
    machine: str  # the same for all that share a kernel
    process: int
    since: str  # local time
    work: str  # the command

    @classmethod
    def here(cls, work: str) -> Holder:
        """The process that asks."""
        host = socket.gethostname()
        machine = BOOT.read_text().strip() if BOOT.exists() else host
        return cls(host, machine, os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"), work)

    @classmethod
    def read(cls, file: int) -> Holder | None:
        """Whom an open lock file names; None: nobody, or what is there is not whole."""
        try:
            return cls(**json.loads(os.pread(file, 4096, 0)))
        except (ValueError, TypeError):
            return None

    def write(self, file: int) -> None:
        """Names this process in an open lock file."""
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(self)).encode(), 0)
        os.fsync(file)

    def may_live(self, here: Holder, silent: float, kernel: bool) -> bool:
        """Whether the process may still be at work.

        Args:
            here: this process.
            silent: seconds since the lock was touched.
            kernel: whether this process got the kernel's lock.
        """
        if self.machine != here.machine:
            return silent < DEAD_AFTER
        if kernel:  # which a process of this machine would have kept from us
            return False
        if self.host != here.host:  # another container, whose processes are not ours to see
            return silent < DEAD_AFTER
        # A process that has our number died before us: numbers of containers are few.
        return self.process != here.process and silent < DEAD_AFTER and _runs(self.process)


class InUse(UserError):
    """Another process holds a lock."""

    def __init__(self, what: str, who: str, remedy: str) -> None:
        super().__init__(f"{what} is being written by {who}: {remedy}")
        self.waiting = f"  waiting: {what} is being written by {who}"


@contextmanager
def held(
    path: Path, what: str, work: str, waiting: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Holds a lock while the block runs.

    Args:
        path: the lock file. It is removed at the end, and so are folders that were made for it and
            are empty then.
        what: what is written under it, for people.
        work: the command, for people.
        waiting: is told, once, for whom this process waits until it is the one who holds the lock.

    Raises:
        UserError: another process holds it, or some hold it together, and `waiting` is None.
    """
    told = False
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(_held(path, what, work))
                for other in path.parent.glob(path.name + SHARING.format("*")):
                    _require_free(other, what, work)
                    other.unlink(missing_ok=True)  # a killed process left it
            except InUse as error:
                if waiting is None:
                    raise
                if not told:
                    waiting(error.waiting)
                    told = True
            else:
                yield
                return
        time.sleep(ASKED_EVERY)


@contextmanager
def shared(path: Path, what: str, work: str) -> Iterator[None]:
    """Holds a lock together with all others who ask for it so; see `held` for the arguments.

    Raises:
        UserError: a process holds it alone.
    """
    own = path.with_name(path.name + SHARING.format(f"{os.getpid()}-{secrets.token_hex(4)}"))
    # First this, then a look at the other: of two who come at once, one at least sees the other.
    with _held(own, what, work):
        _require_free(path, what, work)
        yield


@contextmanager
def _held(path: Path, what: str, work: str) -> Iterator[None]:
    here = Holder.here(work)
    absent = [folder for folder in path.parents if not folder.exists()]
    file = _acquire(path, here, what)
    released = threading.Event()
    touching = threading.Thread(target=_touch, args=(file, released), daemon=True)
    touching.start()
    try:
        yield
    finally:
        released.set()
        touching.join()
        if _is_at(path, file) and Holder.read(file) == here:
            path.unlink(missing_ok=True)
        os.close(file)
        with contextlib.suppress(OSError):  # something was written, or another process did this
            for folder in absent:
                folder.rmdir()


@contextmanager
def own_folder(parent: Path, work: str) -> Iterator[Path]:
    """A folder inside `parent` for this process alone, which is removed at the end.

    What dead processes left in `parent` is removed, too. The folder is made by whoever writes there
    first.
    """
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    with held(_lock_of(parent / name), f"{parent / name}", work):
        left = {path.name.removeprefix(".").removesuffix(".lock") for path in parent.iterdir()}
        for other in left - {name}:
            with contextlib.suppress(UserError), held(_lock_of(parent / other), other, work):
                shutil.rmtree(parent / other, ignore_errors=True)
        try:
            yield parent / name
        finally:
            shutil.rmtree(parent / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # others are in it
        parent.rmdir()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _acquire(path: Path, here: Holder, what: str) -> int:
    """The open lock file, which names this process now. Raises UserError where another holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process removed the folder, which was empty
            continue
        try:
            kernel = _kernel_lock(file)
            if kernel is None:  # or somebody looks at it
                time.sleep(LOOKED_AT)
                kernel = _kernel_lock(file)
            if kernel is None:
                raise _refusal(file, path, what)
            if not _is_at(path, file):  # whoever held it removed it meanwhile
                os.close(file)
                continue
            holder = Holder.read(file)
            silent = time.time() - os.fstat(file).st_mtime
            if holder and holder.may_live(here, silent, kernel):
                raise _refusal(file, path, what)
            with writing(path, path):
                here.write(file)
            if not kernel:
                time.sleep(SETTLED_AFTER)
                if not _is_at(path, file) or Holder.read(file) != here:
                    raise _refusal(file, path, what)
            return file
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(file)
            raise


def _require_free(path: Path, what: str, work: str) -> None:
    """Raises UserError where a process holds a lock. Takes it for no longer than a look needs."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        kernel = _kernel_lock(file, alone=False)
        holder = Holder.read(file)
        silent = time.time() - os.fstat(file).st_mtime
        if not _is_at(path, file):  # it ended meanwhile
            return
        if kernel is None or (holder and holder.may_live(Holder.here(work), silent, kernel)):
            raise _refusal(file, path, what)
    finally:
        os.close(file)


def _kernel_lock(file: int, alone: bool = True) -> bool | None:
    """Whether the kernel gave its lock; None: another process has it. False: there is no such.

    Args:
        file: the open lock file.
        alone: False: others who ask so may have it, too.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _refusal(file: int, path: Path, what: str) -> InUse:
    holder = Holder.read(file)
    who = "another process"
    if holder:
        who = f"process {holder.process} on {holder.host} ({holder.work}, since {holder.since})"
    silent = max(0.0, time.time() - os.fstat(file).st_mtime)
    return InUse(
        what,
        who,
        "wait until it ends, stop it, or choose another "
        f"output_dir=. The lock {path} ends with that process; where it ran on another machine, "
        f"{DEAD_AFTER / 60:.0f} minutes after it last touched the file ({silent:.0f} s ago).",
    )


def _touch(file: int, released: threading.Event) -> None:
    """Shows now and then that the process is alive."""
    while not released.wait(TOUCHED_EVERY):
        with contextlib.suppress(OSError):  # the next touch may succeed
            os.utime(file)


def _is_at(path: Path, file: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _runs(process: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
