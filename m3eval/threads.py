"""Work in other threads: a bounded step ahead of its caller or behind it, or one core each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from m3eval.lazy import torch

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@contextmanager
def ahead(source: Iterable[T], n: int = 1) -> Iterator[Iterator[T]]:
    """Draws items from `source` in a thread, up to `n` items before they are asked for.

    An exception of `source` is raised where the item would have been received. When the block ends,
    the thread finishes the item that it is working on and stops.

    Yields:
        An iterator over the items of `source`, in their order.
    """
    # An item, the exception that ended the source, or None where it ended well.
    messages: queue.Queue[_Item[T] | BaseException | None] = queue.Queue(n)
    block_ended = threading.Event()

    def put(message: _Item[T] | BaseException | None) -> bool:
        """Waits for room in the queue. Returns False if the block ended meanwhile."""
        while not block_ended.is_set():
            try:
                messages.put(message, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def draw() -> None:
        try:
            for item in source:
                if not put(_Item(item)):
                    return
        except BaseException as error:
            put(error)
        else:
            put(None)

    def received() -> Iterator[T]:
        while (message := messages.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            yield message.value

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield received()
    finally:
        block_ended.set()
        thread.join()


@contextmanager
def behind() -> Iterator[Callable[..., None]]:
    """Makes calls in a thread, one after the other, while the caller goes on.

    Yields:
        A function that takes a function and its arguments, and has the thread call it. It returns
        at once, unless the previous call is still running: then it waits for that. An exception of
        a call is raised by the next one, or when the block ends.
    """
    with ThreadPoolExecutor(1, "behind") as pool:
        pending: list[Future[None]] = []  # at most one

        def submit(function: Callable[..., None], *arguments: object) -> None:
            while pending:
                pending.pop().result()
            pending.append(pool.submit(function, *arguments))

        yield submit
        while pending:
            pending.pop().result()


@contextmanager
def single_threaded(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads compute with one thread of torch each.

    That is faster than all cores at one small matrix (docs/log.md), and gives the same bytes for
    every number of cores. What has not begun when the block ends by an error never begins.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what the pool's threads begin with
    pool = ThreadPoolExecutor(threads, name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
