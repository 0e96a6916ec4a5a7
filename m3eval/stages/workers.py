"""Who encodes what: shards in turn, by one process or by one for each device.

The stores are the same to the byte, whatever the number of processes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from m3eval.benchmarks.texts import TextSet, document_texts, query_texts, shards
from m3eval.config import Setup
from m3eval.encoders.encoder import Request, Wanted
from m3eval.errors import UserError
from m3eval.manifests import Representation, StoreCost
from m3eval.oserrors import in_words
from m3eval.stores.compression import Compression
from m3eval.stores.writer import ShardWriter, StoreWriter
from m3eval.threads import behind

SHARD_CHARACTERS = 64_000_000  # bounds a shard of long documents
SHARD_CHARACTERS_VECTORS = 1_000_000  # about 0.5 GB of float16 vectors of width 1024, one per token
LARGE = {"multi_vector", "term_vectors"}

Work = Sequence[tuple[TextSet, ShardWriter]]
OnProgress = Callable[[float, int], None]  # work done and texts done
Costs = dict[str, StoreCost]  # by text set


@dataclass(frozen=True)
class Shard:
    """A shard under way."""

    text_set: str  # its name
    store: ShardWriter
    index: int
    ids: Sequence[str]
    work: np.ndarray  # [texts] work of each


class Progress(NamedTuple):
    """What a process tells its parent: so much was done since it last told."""

    work: float
    texts: int


class Finished(NamedTuple):
    """A process tells its parent that its share is done, and what it took."""

    costs: Costs


class Failed(NamedTuple):
    """A process tells its parent why it stopped, in words for the user."""

    reason: str


Message = Progress | Finished | Failed


def representations_of(store: ShardWriter | StoreWriter) -> list[Representation]:
    """What a store is to hold."""
    return cast(list[Representation], list(store.plan.representations))


def wanted_of(setup: Setup, representations: Collection[Representation]) -> Wanted:
    """What stores of this configuration hold of texts."""
    return Wanted(representations, dense_dtype=Compression(**setup.cfg.store.dense).dtype)


def encode(setup: Setup, work: Work, on_progress: OnProgress) -> Costs:
    """Encodes every shard that is missing, in as many processes as the runtime says.

    Raises:
        UserError: what a process could not do.
    """
    if setup.runtime.processes == 1:
        return Share(setup, 0, 1, on_progress).encode(work)
    stores = {texts.name: shards for texts, shards in work}
    return _in_processes(setup, stores, on_progress)


@dataclass
class Share:
    """What one process encodes: every `processes`-th shard from the `rank`-th on.

    Shards are counted through all text sets. One thread reads and tokenises the next shard, one
    writes the shard before, while the device computes.
    """

    setup: Setup
    rank: int
    processes: int
    on_progress: OnProgress
    under_way: dict[int, Shard] = field(default_factory=dict)  # by number of the request
    counter: Iterator[int] = field(default_factory=itertools.count)  # of all shards

    def encode(self, work: Work) -> Costs:
        """Encodes the shards of this share that are not there yet."""
        parts: dict[str, list[StoreCost]] = defaultdict(list)  # by text set, of each shard
        runtime, before = str(self.setup.runtime), time.monotonic()
        with behind() as later:
            for representations, same in _by_representations(work):
                wanted = replace(wanted_of(self.setup, representations), on_pack=self._tell)
                results = self.setup.encoder.stream(self._requests(same), wanted)
                for number, result in enumerate(results):
                    shard = self.under_way.pop(number)
                    later(shard.store.write, shard.index, shard.ids, result)
                    now = time.monotonic()
                    parts[shard.text_set].append(StoreCost(result.tokens, now - before, runtime))
                    before = now
        return {name: _total(costs, runtime) for name, costs in parts.items()}

    def _requests(self, work: Work) -> Iterator[Request]:
        """The texts of each missing shard, in order; notes the shard in `under_way`."""
        numbers = itertools.count()
        for texts, store in work:
            large = LARGE & set(representations_of(store))
            characters = SHARD_CHARACTERS_VECTORS if large else SHARD_CHARACTERS
            chunks = shards(texts.read(), store.plan.shard_size, characters)
            for index, chunk in enumerate(chunks):
                if next(self.counter) % self.processes != self.rank:
                    continue
                ids, strings = zip(*chunk, strict=True)
                work_of_texts = np.array([texts.work(len(string)) for string in strings])
                if store.has(index):
                    self.on_progress(work_of_texts.sum(), 0)
                    continue
                self.under_way[next(numbers)] = Shard(texts.name, store, index, ids, work_of_texts)
                yield Request(strings, texts.role, texts.max_length, ids)

    def _tell(self, number: int, rows: np.ndarray) -> None:
        self.on_progress(self.under_way[number].work[rows].sum(), len(rows))


def _by_representations(work: Work) -> Iterator[tuple[list[Representation], Work]]:
    """The stores that are to hold the same representations, together."""

    def of_store(pair: tuple[TextSet, ShardWriter]) -> list[Representation]:
        return representations_of(pair[1])

    for representations, same in itertools.groupby(sorted(work, key=of_store), of_store):
        yield representations, list(same)


def _in_processes(
    setup: Setup, stores: Mapping[str, ShardWriter], on_progress: OnProgress
) -> Costs:
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    n = setup.runtime.processes
    # By the pipe that each tells its messages through. A queue would need semaphores, which systems
    # without /dev/shm do not have.
    processes: dict[Connection, BaseProcess] = {}
    shares: list[Costs] = []
    try:
        for rank in range(n):
            messages, to_parent = context.Pipe(duplex=False)
            arguments = (share_of(setup, rank), stores, rank, n, to_parent)
            process = context.Process(target=_process, args=arguments, daemon=True)
            process.start()
            processes[messages] = process
            to_parent.close()  # or its end would not be seen when the process ends
        while len(shares) < n:
            match _next_message(processes):
                case Progress(work, texts):
                    on_progress(work, texts)
                case Finished(costs):
                    shares.append(costs)
                case Failed(reason):
                    raise UserError(reason)
    finally:
        for process in processes.values():
            process.terminate()
            process.join()
    of_set: dict[str, list[StoreCost]] = defaultdict(list)
    for name, cost in (item for share in shares for item in share.items()):
        of_set[name].append(cost)
    return {name: _total(parts, str(setup.runtime), n) for name, parts in of_set.items()}


def _next_message(processes: dict[Connection, BaseProcess]) -> Message:
    """Waits for a message. Raises UserError where a process ended without one.

    Processes that ended well are taken out of `processes`.
    """
    while True:
        messages = cast(Connection, wait([*processes])[0])
        try:
            return messages.recv()
        except (EOFError, OSError):  # it has ended; the latter within a message
            process = processes[messages]
            process.join()
            if process.exitcode:
                raise UserError(
                    f"A process of stage 0 ended with status {process.exitcode} (-9: killed, often "
                    "for memory). What is finished is kept: run again, with fewer "
                    "runtime.processes if memory was short."
                ) from None
            del processes[messages]


def _total(costs: Sequence[StoreCost], runtime: str, side_by_side: int = 1) -> StoreCost:
    """What all parts took, so many of them at a time."""
    tokens, seconds = sum(cost.tokens for cost in costs), sum(cost.seconds for cost in costs)
    return StoreCost(tokens, seconds / side_by_side, runtime)


def share_of(setup: Setup, rank: int) -> DictConfig:
    """The configuration of one process: its own GPU, or its share of the cores."""
    runtime = setup.runtime
    cuda = runtime.device == "cuda"
    own = {
        "device": f"cuda:{rank}" if cuda else runtime.device,
        "threads": max(1, runtime.threads // runtime.processes),
        "processes": 1,
    }
    return cast(DictConfig, OmegaConf.merge(setup.cfg, {"runtime": own}))


def _process(
    cfg: DictConfig,
    stores: Mapping[str, ShardWriter],
    rank: int,
    n: int,
    to_parent: Connection,
) -> None:
    """What one process does: finds its text sets again, and encodes its shards."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_at_a_time = threading.Lock()  # what reads ahead tells of shards that it finds, too

    def send(message: Message) -> None:
        with one_at_a_time:
            try:
                to_parent.send(message)
            except BrokenPipeError:  # the parent was killed
                os._exit(1)

    def tell(work: float, texts: int) -> None:
        send(Progress(work, texts))

    try:
        setup = Setup(cfg)
        text_sets = {
            texts.name: texts
            for task in setup.tasks
            for texts in (document_texts(task.corpus, setup.rules), query_texts(task, setup.rules))
        }
        work = [(text_sets[name], shards) for name, shards in stores.items()]
        send(Finished(Share(setup, rank, n, tell).encode(work)))
    except Exception as error:
        if (said := error if isinstance(error, UserError) else in_words(error)) is None:
            raise
        send(Failed(str(said)))


def _end_with_parent() -> None:
    """A parent that was killed leaves no process that goes on writing."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
