"""What sealing and checking cost: their share of a stage's CPU time.

    python -m bench.seals run experiment=demo                 any words that m3eval takes

Two runs of a stage differ by more than what is looked for, so one run is taken apart: the CPU time
of hashing files and records, of looking for another census and of looking for numbers that are not
finite is held against all CPU time of the process and of those that it started. One line for each
stage stands behind the stage's own.
"""

from __future__ import annotations

import functools
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bench.measure import say
from m3eval import files, seals

spent: Counter[str] = Counter()  # CPU seconds, by what they went to
within = threading.local()  # whether this thread is in a function that is timed already


def timed(what: str, owner: Any, name: str) -> None:
    """Replaces a function by one that adds its CPU time to `spent`."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if getattr(within, "it", False):
            return function(*arguments, **named)
        within.it, before = True, time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            spent[what] += time.thread_time() - before
            within.it = False

    setattr(owner, name, call)


def told(name: str, stage: ModuleType) -> None:
    """Lets a stage print its shares when it ends."""
    run = stage.run

    def call(*arguments: Any) -> None:
        before, started = spent.copy(), cpu()
        run(*arguments)
        total = cpu() - started
        parts = spent - before
        shares = ", ".join(f"{what} {100 * each / total:.2f} %" for what, each in parts.items())
        say(f"{name}: {total:.1f} CPU s; {100 * parts.total() / total:.2f} %: {shares}")

    stage.run = call


def cpu() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Runs m3eval with the words of the command line."""
    # `seals` has it by name; other modules take these by name when they are imported, below.
    timed("files' hashes", files, "sha256")
    timed("files' hashes", seals, "sha256")
    timed("records' seals", seals, "sealed")
    timed("records' seals", seals, "check_sealed")
    from m3eval.benchmarks import census
    from m3eval.encoders import finite

    timed("census", census, "census")
    timed("finite numbers", finite.Watch, "look")
    from m3eval.__main__ import main as m3eval
    from m3eval.stages import embed, search

    told("stage 0", embed)
    told("stage 1", search)
    sys.exit(m3eval())


if __name__ == "__main__":
    main()
