"""Shards that a reader hands to workers, some of whom are slow or lost: by events, no clock.

The rules are those of `m3eval.stages.executors`, which a `Crew` states. `bench.simulation` says
what shards there are and what each takes.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Step(NamedTuple):
    """A shard."""

    read: float  # seconds of the reader until it is handed over, what it passes by among them
    again: float  # the same where the shard is there already, so that it is only compared
    work: float  # seconds of a worker of full speed
    texts: int = 0
    bytes: float = 0.0  # on disk


class Outage(NamedTuple):
    """A node that is lost, and comes back."""

    begins: float
    ends: float
    workers: range


@dataclass(frozen=True)
class Crew:
    """One who reads, and the workers that shards are handed to."""

    speeds: Sequence[float]  # of each worker; 1: full speed
    ahead: int  # shards per worker that are under way, the one that is encoded among them
    bound: bool  # a shard is handed to one worker, not to whoever is free first
    survives: bool  # shards of lost workers go to others; else all stop, and are started again
    start: float = 0.0  # seconds until a worker that begins encodes
    checked: float = 0.0  # seconds a byte of what is there, when all are started again


@dataclass
class Ended:
    """What became of all shards."""

    seconds: float = 0.0
    busy: float = 0.0  # seconds of workers that went to what was kept
    wasted: float = 0.0  # to what was lost
    reading: float = 0.0  # seconds of the reader
    twice: int = 0  # shards that were begun again
    stops: int = 0  # times that all had to be started again
    held: int = 0  # texts in shards under way, at the most
    losses: Counter[int] = field(default_factory=Counter)  # times that a shard was lost


def run(steps: Sequence[Step], crew: Crew, outages: Sequence[Outage], tail: float = 0.0) -> Ended:
    """Until all is done.

    Args:
        steps: the shards, in the order in which they are read.
        crew: who reads and encodes.
        outages: of its nodes; one with worker 0 takes the reader with it.
        tail: seconds of the reader behind the last shard.
    """
    ended, done, begin = Ended(), set[int](), crew.start
    while True:
        later = [each for each in outages if each.ends > begin - crew.start]
        attempt = _Attempt(steps, crew, later, begin, ended, done)
        stopped = attempt.go(tail)
        if stopped is None:
            return ended
        ended.stops += 1
        begin = stopped.ends + crew.start + crew.checked * sum(steps[i].bytes for i in done)


class _Attempt:
    """From a start to the end, or to what stops all."""

    def __init__(
        self,
        steps: Sequence[Step],
        crew: Crew,
        outages: Sequence[Outage],
        begin: float,
        ended: Ended,
        done: set[int],
    ) -> None:
        self.steps, self.crew, self.ended, self.done = steps, crew, ended, done
        self.now, self.next, self.reading, self.read_until = begin, 0, False, begin
        self.events: list[tuple[float, int, str, int | Outage]] = []
        self.order = itertools.count()  # what comes at one time comes in the order of its making
        self.alive = set(range(len(crew.speeds)))
        self.under_way: dict[int, tuple[int, float, int]] = {}  # worker -> shard, since, its event
        places = len(crew.speeds) if crew.bound else 1
        self.waiting = [deque[int]() for _ in range(places)]
        self.texts = 0
        for outage in outages:
            self._at(max(outage.begins, begin), "lost", outage)

    def go(self, tail: float) -> Outage | None:
        """Runs; the outage that stopped all, or None."""
        self._read()
        while len(self.done) < len(self.steps):
            self.now, number, kind, what = heapq.heappop(self.events)
            if isinstance(what, Outage):
                if kind == "lost" and (not self.crew.survives or 0 in what.workers):
                    self._lose(range(len(self.crew.speeds)))
                    return what
                self._lose(what.workers) if kind == "lost" else self.alive.update(what.workers)
                if kind == "lost":
                    self._at(what.ends + self.crew.start, "back", what)
            elif kind == "read":
                self.reading = False
                self._queue(what).append(what)
            elif (mine := self.under_way.get(what)) and mine[2] == number:
                self._finish(what)
            self._begin()
            self._read()
        rest = sum(step.again for step in self.steps[self.next :])  # nobody waits for it
        self.ended.reading += tail + rest
        self.ended.seconds = max(self.now, self.read_until + tail + rest)
        return None

    def _at(self, time: float, kind: str, what: int | Outage) -> int:
        number = next(self.order)
        heapq.heappush(self.events, (time, number, kind, what))
        return number

    def _read(self) -> None:
        """Begins to read the next shard, if there is room for it."""
        under_way = len(self.under_way) + sum(map(len, self.waiting)) + self.reading
        if self.reading or under_way >= self.crew.ahead * len(self.alive):
            return
        seconds = 0.0
        while self.next < len(self.steps):
            number, self.next = self.next, self.next + 1
            step = self.steps[number]
            if number not in self.done:
                seconds += step.read
                self.reading, self.read_until = True, self.now + seconds
                self._at(self.read_until, "read", number)
                self.texts += step.texts
                self.ended.held = max(self.ended.held, self.texts)
                self.ended.reading += seconds
                return
            seconds += step.again
        if seconds:
            self.read_until = self.now + seconds
            self.ended.reading += seconds

    def _queue(self, shard: int) -> deque[int]:
        """Where a shard waits: with the worker that has the fewest, or for all."""
        if not self.crew.bound:
            return self.waiting[0]
        queues = self.waiting
        return queues[min(self.alive, key=lambda w: (len(queues[w]) + (w in self.under_way), w))]

    def _begin(self) -> None:
        """Gives those who are free what waits for them."""
        for worker in sorted(self.alive - self.under_way.keys()):
            queue = self.waiting[worker if self.crew.bound else 0]
            if queue:
                shard = queue.popleft()
                seconds = self.steps[shard].work / self.crew.speeds[worker]
                event = self._at(self.now + seconds, "done", worker)
                self.under_way[worker] = shard, self.now, event

    def _finish(self, worker: int) -> None:
        shard, since, _ = self.under_way.pop(worker)
        self.done.add(shard)
        self.texts -= self.steps[shard].texts
        self.ended.busy += self.now - since

    def _lose(self, workers: range) -> None:
        """What workers were at is lost; what waits for nobody in particular comes first again."""
        for worker in workers:
            if mine := self.under_way.pop(worker, None):
                self.ended.wasted += self.now - mine[1]
                self.ended.twice += 1
                self.ended.losses[mine[0]] += 1
                self.waiting[worker if self.crew.bound else 0].appendleft(mine[0])
        self.alive.difference_update(workers)
