"""Work in a thread of its own, a bounded step ahead of or behind the one who asks for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ahead(source: Iterable[T], n: int = 1) -> Iterator[Iterator[T]]:
    """Draws items from `source` in a thread, up to `n` before they are asked for; its errors are raised where they are.

    When the block ends, the thread does: after the item it is at.
    """
    items: queue.Queue[tuple[str, object]] = queue.Queue(n)
    left = threading.Event()

    def put(kind: str, item: object = None) -> bool:
        while not left.is_set():
            try:
                items.put((kind, item), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def draw() -> None:
        try:
            for item in source:
                if not put("item", item):
                    return
        except BaseException as error:
            put("error", error)
        else:
            put("end")

    def drawn() -> Iterator[T]:
        while True:
            kind, item = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield drawn()
    finally:
        left.set()
        thread.join()


@contextmanager
def behind() -> Iterator[Callable[..., None]]:
    """Gives a function that calls another with its arguments in a thread, in order, one call behind.

    It returns at once unless the call before is still at work. What a call raised is raised by the next or by the block's end.
    """
    with ThreadPoolExecutor(1, "behind") as pool:
        last: list[Future[None]] = []

        def submit(function: Callable[..., None], *arguments: object) -> None:
            while last:
                last.pop().result()
            last.append(pool.submit(function, *arguments))

        yield submit
        while last:
            last.pop().result()
