"""Who encodes what: shards in turn, by one process or by one for each device; the stores are the same to the byte."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf

from m3eval.benchmarks.texts import TextSet, document_texts, query_texts, shards
from m3eval.config import Setup
from m3eval.encoders.encoder import Request
from m3eval.encoders.representations import Representation
from m3eval.errors import UserError
from m3eval.stores.writer import StoreWriter
from m3eval.threads import behind

SHARD_CHARACTERS = 64_000_000  # bounds a shard of long documents
SHARD_CHARACTERS_VECTORS = 1_000_000  # about 0.5 GB of float16 vectors of width 1024, one per token
LARGE = {"multi_vector", "term_vectors"}

Work = Sequence[tuple[TextSet, StoreWriter]]
Report = Callable[[float, int], None]  # work done and texts done
Costs = dict[str, dict[str, Any]]  # by text set: tokens, seconds, runtime


class Piece(NamedTuple):
    """A shard under way."""

    name: str  # of the text set
    store: StoreWriter
    index: int
    ids: Sequence[str]
    sizes: np.ndarray  # [texts] work of each


def encode(setup: Setup, work: Work, report: Report) -> Costs:
    """Encodes every shard that is missing, in as many processes as the runtime says.

    Raises:
        UserError: what a process could not do.
    """
    if setup.runtime.processes == 1:
        return encode_share(setup, work, 0, 1, report)
    return _in_processes(setup, [texts.name for texts, _ in work], report)


def encode_share(setup: Setup, work: Work, rank: int, processes: int, report: Report) -> Costs:
    """Encodes every `processes`-th shard, counted through all text sets, from the `rank`-th on, unless it is there.

    One thread reads and tokenises the next shard, one writes the shard before, while the device computes.
    """
    under_way: dict[int, Piece] = {}
    turn = itertools.count()

    def requests(some: Work) -> Iterator[Request]:
        number = itertools.count()
        for texts, store in some:
            limit = SHARD_CHARACTERS_VECTORS if LARGE & set(kept(store)) else SHARD_CHARACTERS
            for index, chunk in enumerate(shards(texts.read(), setup.runtime.shard_size, limit)):
                if next(turn) % processes != rank:
                    continue
                ids, strings = zip(*chunk, strict=True)
                piece = Piece(
                    texts.name,
                    store,
                    index,
                    ids,
                    np.array([texts.work(string) for string in strings]),
                )
                if store.has(index):
                    report(piece.sizes.sum(), 0)
                    continue
                under_way[next(number)] = piece
                yield Request(strings, texts.role, texts.max_length)

    def on_pack(number: int, rows: np.ndarray) -> None:
        report(under_way[number].sizes[rows].sum(), len(rows))

    costs: Costs = {}
    before = time.monotonic()
    of_store = lambda pair: kept(pair[1])  # noqa: E731
    with behind() as later:
        for representations, some in itertools.groupby(sorted(work, key=of_store), of_store):
            for number, found in enumerate(
                setup.encoder.stream(requests(list(some)), representations, on_pack)
            ):
                piece = under_way.pop(number)
                later(piece.store.write, piece.index, piece.ids, found)
                cost = costs.setdefault(
                    piece.name, {"tokens": 0, "seconds": 0.0, "runtime": str(setup.runtime)}
                )
                cost["tokens"] += found.tokens
                cost["seconds"] += time.monotonic() - before
                before = time.monotonic()
    return costs


def kept(store: StoreWriter) -> list[Representation]:
    """What a store is to hold."""
    return store.plan.representations


def _in_processes(setup: Setup, names: Sequence[str], report: Report) -> Costs:
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    messages: multiprocessing.Queue = context.Queue()
    n = setup.runtime.processes
    processes = [
        context.Process(
            target=_process, args=(share_of(setup, rank), names, rank, n, messages), daemon=True
        )
        for rank in range(n)
    ]
    for process in processes:
        process.start()
    costs: list[Costs] = []
    try:
        while len(costs) < n:
            try:
                kind, content = messages.get(timeout=1)
            except queue.Empty:
                for process in processes:
                    if process.exitcode:
                        raise UserError(
                            f"A process of stage 0 ended with status {process.exitcode} (-9: killed, often for memory). "
                            "What is finished is kept: run again, with fewer runtime.processes if memory was short."
                        ) from None
                continue
            if kind == "error":
                raise UserError(content)
            if kind == "done":
                costs.append(content)
            else:
                report(*content)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    names = dict.fromkeys(name for share in costs for name in share)
    together = {name: [share[name] for share in costs if name in share] for name in names}
    return {
        name: {
            "tokens": sum(cost["tokens"] for cost in found),
            "seconds": sum(cost["seconds"] for cost in found) / n,  # they work side by side
            "runtime": str(setup.runtime),
        }
        for name, found in together.items()
    }


def share_of(setup: Setup, rank: int) -> DictConfig:
    """The configuration of one process: its own GPU, or its share of the cores."""
    runtime = setup.runtime
    cuda = runtime.device == "cuda"
    mine = {
        "device": f"cuda:{rank}" if cuda else runtime.device,
        "threads": max(1, runtime.threads // runtime.processes),
        "processes": 1,
    }
    return OmegaConf.merge(setup.cfg, {"runtime": mine})


def _process(
    cfg: DictConfig,
    names: Sequence[str],
    rank: int,
    n: int,
    messages: multiprocessing.Queue,
) -> None:
    """What one process does: finds the text sets and the plans of their stores again, and encodes its shards."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        setup = Setup(cfg)
        text_sets = {
            texts.name: texts
            for task in setup.tasks
            for texts in (document_texts(task.corpus, setup.rules), query_texts(task, setup.rules))
        }
        work = [
            (text_sets[name], StoreWriter.reopened(setup.layout.store(name).folder))
            for name in names
        ]
        messages.put(
            (
                "done",
                encode_share(setup, work, rank, n, lambda *done: messages.put(("advance", done))),
            )
        )
    except UserError as error:
        messages.put(("error", str(error)))


def _end_with_parent() -> None:
    """A parent that was killed leaves no process that goes on writing."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
