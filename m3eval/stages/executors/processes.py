"""Shards encoded by several processes of this machine, one for each device.

This process reads the texts, once, and hands a shard to whoever asks for one. A process asks two
shards ahead, so that its device never waits for texts.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple, cast

from omegaconf import DictConfig, OmegaConf

from m3eval.config import Setup
from m3eval.errors import UserError
from m3eval.oserrors import in_words
from m3eval.stages.executors.alone import in_this_process
from m3eval.stages.shards import Done, OnProgress, Shard
from m3eval.threads import ahead

SHARDS_AHEAD = 2


class Ask(NamedTuple):
    """A process has room for another shard."""


class Progress(NamedTuple):
    """So much was done since a process last told."""

    work: float
    texts: int


class Failed(NamedTuple):
    """Why a process stopped, in words for the user."""

    reason: str


Message = Ask | Progress | Done | Failed


def in_processes(setup: Setup, shards: Iterator[Shard], on_progress: OnProgress) -> Iterator[Done]:
    """An `Executor`: as many processes as the runtime says.

    Raises:
        UserError: what a process could not do, or that it was killed.
    """
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    # By the pipe that each is talked to through. A queue would need semaphores, which systems
    # without /dev/shm do not have.
    started: dict[Connection, BaseProcess] = {}
    try:
        for rank in range(setup.runtime.processes):
            ours, theirs = context.Pipe()
            arguments = (config_of(setup, rank), theirs)
            process = context.Process(target=_process, args=arguments, daemon=True)
            process.start()
            started[ours] = process
            theirs.close()  # or its end would not be seen when the process ends
        running = dict(started)
        with ahead(shards) as read:
            while running:
                for pipe in cast(list[Connection], wait([*running])):
                    match _received(pipe, running):
                        case Ask():
                            with suppress(OSError):  # killed: that is seen when it is next heard
                                pipe.send(next(read, None))
                        case Progress(work, texts):
                            on_progress(work, texts)
                        case Done() as done:
                            yield done
                        case Failed(reason):
                            raise UserError(reason)
    finally:
        for process in started.values():
            process.terminate()
            process.join()


def _received(pipe: Connection, running: dict[Connection, BaseProcess]) -> Message | None:
    """What a process tells; None: it ended well, and is taken out of those that run.

    Raises:
        UserError: it ended otherwise.
    """
    try:
        return pipe.recv()
    except (EOFError, OSError):  # it has ended; the latter within a message
        process = running.pop(pipe)
        process.join()
        if process.exitcode:
            raise UserError(
                f"A process of stage 0 ended with status {process.exitcode} (-9: killed, often "
                "for memory). What is finished is kept: run again, with fewer runtime.processes if "
                "memory was short."
            ) from None
        return None


def config_of(setup: Setup, rank: int) -> DictConfig:
    """The configuration of one process: its own GPU, or its part of the cores."""
    runtime = setup.runtime
    cuda = runtime.device == "cuda"
    own = {
        "device": f"cuda:{rank}" if cuda else runtime.device,
        "threads": max(1, runtime.threads // runtime.processes),
        "processes": 1,
    }
    return cast(DictConfig, OmegaConf.merge(setup.cfg, {"runtime": own}))


def _process(cfg: DictConfig, parent: Connection) -> None:
    """What one process does: encodes the shards that it asks its parent for."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_at_a_time = threading.Lock()  # several threads tell
    received: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()

    def send(message: Message) -> None:
        with one_at_a_time:
            try:
                parent.send(message)
            except BrokenPipeError:  # the parent was killed
                os._exit(1)

    def receive() -> None:
        """Takes shards as they come, in a thread of its own: the parent never waits to send."""
        with suppress(EOFError, OSError):  # the parent ends: see `_end_with_parent`
            while (shard := parent.recv()) is not None:
                received.put(shard)
            received.put(None)

    def shards() -> Iterator[Shard]:
        for _ in range(SHARDS_AHEAD):
            send(Ask())
        while (shard := received.get()) is not None:
            send(Ask())
            yield shard

    def tell(work: float, texts: int) -> None:
        send(Progress(work, texts))

    threading.Thread(target=receive, daemon=True).start()
    try:
        for done in in_this_process(Setup(cfg), shards(), tell):
            send(done)
    except Exception as error:
        if (said := error if isinstance(error, UserError) else in_words(error)) is None:
            raise
        send(Failed(str(said)))


def _end_with_parent() -> None:
    """A parent that was killed leaves no process that goes on writing."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
