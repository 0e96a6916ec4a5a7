"""Puts a fault into a process at its n-th step that touches a folder or prints a line.

Steps are what Python's audit events tell: files opened for writing, made, renamed, removed; and
besides them every fsync and every line printed. So a fault is chosen by progress, never by time,
and the same number is the same moment again.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}


@dataclass
class Fault:
    """What happens at a step.

    Args:
        folder: steps are those within it.
        at: the number of the step, from 0; -1: none, steps are only counted.
        act: "kill", "stop", "interrupt", or the name of an error of the system.
        lasting: every later step fails, too, as on a full disk.
        steps: a file that gets a byte for every step.
    """

    folder: str
    at: int
    act: str = "kill"
    lasting: bool = False
    steps: str | None = None

    def install(self) -> None:
        """Watches this process from now on."""
        self.count, self.quiet = 0, False
        sys.addaudithook(self._audit)
        fsync = os.fsync

        def watched(file: int) -> None:
            self._step()
            fsync(file)

        os.fsync = watched

    def printed(self) -> None:
        """A line was printed."""
        if self.act == "kill":  # printing fails elsewhere: see tests/test_oserrors.py
            self._step()

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.quiet:
            return
        if event == "open":
            path, _, flags = arguments
            if not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self.act != "EMFILE":
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if os.fsdecode(path).startswith(self.folder):
            self._step(os.fsdecode(path))

    def _step(self, path: str | None = None) -> None:
        if self.steps:
            self.quiet = True
            with Path(self.steps).open("ab") as file:
                file.write(b".")
            self.quiet = False
        here, self.count = self.count, self.count + 1
        if here != self.at and not (self.lasting and 0 <= self.at < here):
            return
        if self.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.act == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.act == "interrupt":
            raise KeyboardInterrupt
        else:
            number = getattr(errno, self.act)
            raise OSError(number, os.strerror(number), path)


def in_this_process_of_several() -> None:
    """Installs the fault of the file M3EVAL_FAULT, if this process was started by another's stage.

    The encoder of the tests calls it: processes of stage 0 load it, and nothing else of the tests.
    """
    path = os.environ.get("M3EVAL_FAULT")
    if path and multiprocessing.parent_process():
        Fault(**json.loads(Path(path).read_text())).install()


def die_where_told(key: str) -> None:
    """Ends this process as `kill -9` does, once, where the folder M3EVAL_DIE has a file so named.

    Where it has KEY.hold, this process says by KEY.reached that it has come here, and waits until
    the file is gone. The encoder of the tests calls it with the id of the first text that it gets.
    """
    if not (named := os.environ.get("M3EVAL_DIE")):
        return
    folder = Path(named)
    if (hold := folder / f"{key}.hold").exists():
        (folder / f"{key}.reached").touch()
        while hold.exists():
            time.sleep(0.05)
    try:
        (folder / key).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


MODULES = ("os", "posix", "subprocess", "builtins", "evil")
# Events of running something that is no part of m3eval.
HARM = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "webbrowser.open"}


def watch_for_harm(file: str) -> None:
    """Notes in a file whatever this process runs from now on, or unpickles by name."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        named = event == "pickle.find_class" and arguments[0] in MODULES
        imported = event == "import" and str(arguments[0]).split(".")[0] == "evil"
        if event in HARM or named or imported:
            with Path(file).open("a") as notes:
                notes.write(f"{event} {arguments}\n")

    sys.addaudithook(audit)
