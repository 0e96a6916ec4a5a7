"""Packs of texts, and how a device works through them: every core or the GPU busy, results in order, memory bounded."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.runtime import Runtime

TEXTS = 4096  # of a pack at most
FEW = 8  # packs that a call is cut into, if it has the tokens, so that cores share it
SMALL = 256  # tokens below which a pack on a CPU is not worth cutting
IN_FLIGHT = 2  # packs a GPU has before it while the host takes in the results of the one before

Outputs = dict[str, tuple[torch.Tensor, ...]]  # of one pack, by representation


class Pack(NamedTuple):
    """Texts that go through the model together: their tokens one after the other, nothing padded."""

    rows: (
        np.ndarray
    )  # [B] positions of the texts in the list that is encoded, by length, longest first
    lengths: np.ndarray  # [B] int64
    ids: np.ndarray  # [T] int64
    owner: Any = None  # whatever the caller wants to find beside the results


def packs(ids: Sequence[np.ndarray], runtime: Runtime, owner: Any = None) -> Iterator[Pack]:
    """Sorts texts by length and cuts them into packs of the token budget; a longer text is a pack of its own.

    On a CPU a small call is cut into a few packs, whatever the number of cores, so that results do not depend on it.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    order = np.argsort(-lengths, kind="stable")
    budget = runtime.token_budget
    if runtime.device == "cpu":
        budget = min(budget, max(SMALL, -(-int(lengths.sum()) // FEW)))
    ends, start = np.cumsum(lengths[order]), 0
    while start < len(order):
        limit = (ends[start - 1] if start else 0) + budget
        end = min(max(start + 1, int(np.searchsorted(ends, limit, side="right"))), start + TEXTS)
        rows = order[start:end]
        yield Pack(
            rows, lengths[rows], np.concatenate([ids[row] for row in rows]).astype(np.int64), owner
        )
        start = end


def execute(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs], runtime: Runtime
) -> Iterator[tuple[Pack, Outputs]]:
    """Computes packs and brings the results to the host, in order. A pack that fills the memory is computed in halves.

    The work is taken as it is needed, a few packs ahead. On CUDA nothing waits for the device but the results that leave
    it, and these while it has other packs to do. On a CPU each core computes a pack of its own, with one thread: that is
    faster than all cores at one matrix (docs/log.md), and gives the same bytes for every number of cores.

    Raises:
        UserError: a single text does not fit into memory.
    """
    return (
        _on_cuda(work, compute)
        if runtime.device.startswith("cuda")
        else _on_cpu(work, compute, runtime.threads)
    )


def _on_cuda(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs]
) -> Iterator[tuple[Pack, Outputs]]:
    waiting: deque[tuple[Pack, Outputs, torch.cuda.Event]] = deque()

    def arrived() -> tuple[Pack, Outputs]:
        part, outputs, event = waiting.popleft()
        event.synchronize()
        return part, outputs

    for item in work:
        for part, outputs in _halving(item, compute):
            event = torch.cuda.Event()
            event.record()
            waiting.append((part, outputs, event))
        while len(waiting) > IN_FLIGHT:
            yield arrived()
    while waiting:
        yield arrived()


def _on_cpu(
    work: Iterable[Pack], compute: Callable[[Pack], Outputs], threads: int
) -> Iterator[tuple[Pack, Outputs]]:
    work = iter(work)
    first = list(itertools.islice(work, 2))
    if len(first) < 2 or threads == 1:  # a pool costs more than it brings
        for item in itertools.chain(first, work):
            yield from _halving(item, compute)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what the pool's threads begin with
    pool = ThreadPoolExecutor(threads, "pack")
    try:
        waiting: deque[Future[list[tuple[Pack, Outputs]]]] = deque()
        for item in itertools.chain(first, work):
            waiting.append(pool.submit(_halving, item, compute))
            if len(waiting) > threads + 1:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _halving(item: Pack, compute: Callable[[Pack], Outputs]) -> list[tuple[Pack, Outputs]]:
    """A pack and its results on their way to the host; several parts of it where memory did not hold it whole."""
    try:
        with torch.inference_mode():
            found = compute(item)
            return [
                (
                    item,
                    {name: tuple(to_host(part) for part in parts) for name, parts in found.items()},
                )
            ]
    except torch.OutOfMemoryError as error:
        if len(item.rows) == 1:
            raise UserError(
                f"Out of memory on a single text of {len(item.ids):,} tokens: choose runtime.precision=bf16 or fp16, a device "
                "with more memory, or benchmark.text.max_document_length below that."
            ) from error
    say(
        f"  out of memory on {len(item.ids):,} tokens: computed in halves; runtime.token_budget= avoids this"
    )
    torch.cuda.empty_cache()
    middle = len(item.rows) // 2
    ends = np.split(item.ids, [int(item.lengths[:middle].sum())])
    halves = [
        Pack(rows, lengths, ids, item.owner)
        for rows, lengths, ids in zip(
            np.split(item.rows, [middle]), np.split(item.lengths, [middle]), ends, strict=True
        )
    ]
    return [part for half in halves for part in _halving(half, compute)]


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device; a GPU fetches it from pinned memory without being waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on its way to (pinned) host memory: there once the device has done what it was given until now."""
    return tensor.to("cpu", non_blocking=True)


def kept(lengths: np.ndarray, first: int, last: int) -> np.ndarray:
    """Positions within a pack of the tokens of each text but its `first` first and `last` last.

    Args:
        lengths: [B] tokens of each text.
        first: how many tokens of each text to leave out at its beginning.
        last: and at its end.

    Returns:
        [sum of max(length - first - last, 0)] int64.
    """
    return ragged_range(np.cumsum(lengths) - lengths + first, np.maximum(lengths - first - last, 0))


def ragged_range(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[sum of counts] int64: starts[i], starts[i] + 1, ... counts[i] of them, for each i in turn."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
