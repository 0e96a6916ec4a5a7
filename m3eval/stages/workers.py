"""Who encodes what: this process, one for each device, or the tasks of a Ray cluster.

The stores are the same to the byte, whoever does it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from m3eval.config import Setup
from m3eval.stages.executors.alone import in_this_process
from m3eval.stages.executors.cluster import in_tasks
from m3eval.stages.executors.processes import in_processes
from m3eval.stages.shards import Costs, Executor, OnProgress, Work, missing, total


def encode(setup: Setup, work: Work, on_progress: OnProgress) -> Costs:
    """Encodes every shard that is missing, or those of `runtime.share`.

    Raises:
        UserError: what could not be done.
    """
    runtime = setup.runtime
    todo = missing(work, runtime.share, on_progress)
    side_by_side = 1
    execute: Executor = in_this_process
    if runtime.executor == "ray":
        execute = in_tasks
    elif runtime.processes > 1:
        execute, side_by_side = in_processes, runtime.processes
    with settled():
        return total(execute(setup, todo, on_progress), str(runtime), side_by_side)


@contextmanager
def settled() -> Iterator[None]:
    """Spares Python's search for garbage what is there already: modules, and the model.

    Texts that are read come and go by millions, and the search that they cause would pass through
    all of it again and again: a fifth of the time of reading.
    """
    if gc.get_freeze_count():  # somebody else did
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
