"""How a device works through packs: all of it busy, results in order, memory bounded."""

from __future__ import annotations

import ctypes
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from m3eval.console import say
from m3eval.encoders.transfer import to_host
from m3eval.errors import UserError
from m3eval.lazy import torch
from m3eval.threads import single_threaded

if TYPE_CHECKING:
    from m3eval.encoders.engine.packs import Pack
    from m3eval.runtime import Runtime

    Outputs = dict[str, tuple[torch.Tensor, ...]]  # of one pack, by name
    Computed = tuple[Pack, Outputs]

IN_FLIGHT = 2  # packs that a GPU has before it while the host takes in earlier results
GIVEN_BACK = 4  # packs of a CPU after which freed memory goes back to the system


def execute(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs], runtime: Runtime
) -> Generator[Computed]:
    """Computes packs and brings the results to the host, in order.

    A pack that fills the memory is computed in halves. The work is drawn as it is needed, a few
    packs ahead. On CUDA only results that leave the device are waited for, and these while it has
    other packs to do. On a CPU each core computes a pack of its own, with one thread: that is
    faster than all cores at one matrix (docs/log.md), and gives the same bytes for every number of
    cores.

    Raises:
        UserError: a single text does not fit into memory.
    """
    if runtime.device.startswith("cuda"):
        return _on_cuda(work, compute, runtime.device)
    return _on_cpu(work, compute, runtime.threads)


def _on_cuda(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs], device: str
) -> Generator[Computed]:
    waiting: deque[tuple[Computed, torch.cuda.Event]] = deque()

    def arrived() -> Computed:
        computed, event = waiting.popleft()
        event.synchronize()
        return computed

    for pack in work:
        for computed in _compute_or_halve(pack, compute):
            event = torch.cuda.Event()
            # Of the device that computes: an event of another says nothing of these results.
            event.record(torch.cuda.current_stream(device))
            waiting.append((computed, event))
        while len(waiting) > IN_FLIGHT:
            yield arrived()
    while waiting:
        yield arrived()


def _on_cpu(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs], threads: int
) -> Generator[Computed]:
    for number, computed in enumerate(_by_core(work, compute, threads), 1):
        yield computed
        if number % GIVEN_BACK == 0:
            _give_back()


def _by_core(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs], threads: int
) -> Generator[Computed]:
    work = iter(work)
    first = list(itertools.islice(work, 2))
    if len(first) < 2 or threads == 1:  # a pool costs more than it brings
        for pack in itertools.chain(first, work):
            yield from _compute_or_halve(pack, compute)
        return
    with single_threaded(threads, "pack") as pool:
        waiting: deque[Future[list[Computed]]] = deque()
        for pack in itertools.chain(first, work):
            waiting.append(pool.submit(_compute_or_halve, pack, compute))
            if len(waiting) > threads + 1:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _give_back() -> None:
    """Has malloc return what was freed, which packs of ever other sizes leave in pieces.

    Nothing is done where malloc is not glibc's.
    """
    if trim := _trim():
        trim(0)


@lru_cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def _compute_or_halve(pack: Pack, compute: Callable[[Pack], Outputs]) -> list[Computed]:
    """A pack and its results on their way to the host; its halves where memory was too small."""
    try:
        with torch.inference_mode():
            outputs = compute(pack)
            return [(pack, {name: tuple(map(to_host, outputs[name])) for name in outputs})]
    except torch.OutOfMemoryError as error:
        if len(pack.rows) == 1:
            raise UserError(
                f"Out of memory on a single text of {len(pack.ids):,} tokens: choose "
                "runtime.precision=bf16 or fp16, a device with more memory, or "
                "benchmark.text.max_document_length below that."
            ) from error
    say(
        f"  out of memory on {len(pack.ids):,} tokens: computed in halves; "
        "runtime.token_budget= avoids this"
    )
    torch.cuda.empty_cache()
    return [computed for half in pack.halves() for computed in _compute_or_halve(half, compute)]
