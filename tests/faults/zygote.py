"""Runs commands of m3eval in processes that need not import anything: forks of this one.

It reads a JSON object a line, and answers with one: {"start": {...}} gives {"pid"}, {"wait": pid}
gives {"status"}, which is negative for a signal, as subprocess has it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from typing import Any

from tests.faults.injection import Fault, watch_for_harm


def start(words: list[str], out: str, fault: dict[str, Any] | None, cwd: str, **more: Any) -> int:
    if pid := os.fork():
        return pid
    status, tee = 70, None
    try:
        os.chdir(cwd)
        os.environ.update(more.get("environment") or {})
        limits = more.get("limits") or {}
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if "RLIMIT_FSIZE" in limits:  # which is none for a pipe
            tee = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
            assert tee.stdin
            file = tee.stdin.fileno()
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, most in limits.items():
            kind = getattr(resource, name)
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
        if fault:
            inject(fault)
        if more.get("watch"):
            watch_for_harm(more["watch"])
        from m3eval.__main__ import main

        status = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    if tee and tee.stdin:
        os.close(1)
        os.close(2)
        tee.stdin.close()
        tee.wait()
    os._exit(status)


def inject(fault: dict[str, Any]) -> None:
    from m3eval import console

    injected = Fault(**fault)
    written = console.Printed.write

    def write(self: console.Printed, text: str) -> int:
        injected.printed()
        return written(self, text)

    console.Printed.write = write
    injected.install()


def imported() -> None:
    """What the commands would import one by one."""
    import bm25s  # noqa: F401
    import faiss  # noqa: F401
    import numba  # noqa: F401
    import pandas  # noqa: F401
    import scipy.sparse
    import scipy.stats  # noqa: F401
    import Stemmer  # noqa: F401
    import torch
    from transformers import AutoTokenizer, XLMRobertaModel  # noqa: F401

    import m3eval.__main__
    import m3eval.cli
    import m3eval.retrievers.postings_compiled
    import m3eval.stages.embed
    import m3eval.stages.evaluate
    import m3eval.stages.search  # noqa: F401
    import tests.faults.fake  # noqa: F401

    with suppress(ImportError):
        import s3fs  # noqa: F401
    torch.set_num_threads(1)


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    imported()
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            reply = {"pid": start(**asked["start"])}
        else:
            reply = {"status": os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])}
        print(json.dumps(reply), file=replies, flush=True)
