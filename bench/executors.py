"""Who makes the shards of stage 0, by the rules of the code, and what it comes to.

What is here of executors is read off `m3eval.stages.executors` and `m3eval.stages.shards`:

ray        one process reads, counts and hands over; two shards per worker are under way, and who
           is free takes the next; a task tokenises, encodes and writes in turn; a lost task runs
           again elsewhere
processes  the same, but a process keeps what it was handed, and does the three side by side; if one
           is lost all stop, and are started again
shares     each reads its own shards and passes by the others'; nobody takes over from another; at
           the end `m3eval merge` reads and checks everything once more
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bench.rates import Rates
from bench.schedule import Crew, Ended, Outage, Step, run
from m3eval.runtime import Share
from m3eval.stages.executors import cluster, processes
from m3eval.stages.planning import Plan
from m3eval.stages.shards import in_share

NODE = 8  # workers of a node
# Beside the shard that is encoded, a process has one that is tokenised, one that is being drawn,
# and those that it asked for.
OF_A_PROCESS = 3 + processes.SHARDS_AHEAD
EXECUTORS = ("ray", "processes", "shares", "shares of 8 processes")


class Piece(NamedTuple):
    """A shard that is to be made."""

    text_set: str
    number: int  # in its set
    texts: int
    tokens: float
    bytes: float  # in its store
    pace: float  # seconds that it takes, over the mean


@dataclass(frozen=True)
class World:
    """What the simulation is told."""

    pieces: Sequence[Piece]
    rates: Rates
    tokens_per_second: float  # of a worker
    cores: int = 8  # of a worker
    start: float = 60.0  # seconds until a worker encodes: Python, weights on the device
    hours: float = 2.0  # after which a node is lost, on average
    minutes: float = 10.0  # after which it is back

    @cached_property
    def work(self) -> float:
        """Seconds of one worker for all, by its device alone."""
        return sum(map(self.encoding, self.pieces))

    def encoding(self, piece: Piece) -> float:
        """Seconds of a device."""
        return piece.tokens * piece.pace / self.tokens_per_second

    def outages(self, workers: int, seed: int) -> list[Outage]:
        """When nodes are lost, for long enough."""
        away = 60 * self.minutes
        found = []
        for node in range(-(-workers // NODE)):
            rng, now = np.random.default_rng([seed, node]), 0.0
            own = range(NODE * node, min(NODE * (node + 1), workers))
            while now < 200 * self.work / workers + 1e5:
                now += float(rng.exponential(3600 * self.hours))
                found.append(Outage(now, now + away, own))
                now += away
        return sorted(found, key=lambda each: each.begins)


class Case(NamedTuple):
    """What goes wrong."""

    name: str
    slow: bool = False  # a tenth of the workers has half the speed
    lost: bool = False  # nodes are lost


CASES = (
    Case("quiet"),
    Case("slow", slow=True),
    Case("lost", lost=True),
    Case("both", slow=True, lost=True),
)


@dataclass(frozen=True)
class Outcome:
    """What an executor did."""

    executor: str
    workers: int
    case: str
    hours: float  # until the stores are finished
    times_ideal: float  # of all work over the workers
    waiting: float  # share of the workers' time in which they encoded nothing that was kept
    reading_hours: float  # of the one who read longest
    ending_hours: float  # behind the last shard, by one process
    twice: int  # shards that were begun again
    stops: int  # times that somebody had to start again
    lost_most: int  # times that one shard was lost
    held_gib: float  # texts under way in one reader's hands, at the most


def pieces(plan: Plan, rates: Rates, size: int) -> tuple[Piece, ...]:
    """All shards of the corpora and queries, in the order of stage 0."""
    rng, found = np.random.default_rng(0), []
    in_order = sorted(plan.sets.values(), key=lambda each: list(each.stored))  # as `shards.missing`
    for each in in_order:
        for number, start in enumerate(range(0, each.count, size)):
            texts = min(size, each.count - start)
            pace = float(rng.choice(rates.spread))
            of_piece = texts * each.tokens, texts * each.bytes
            found.append(Piece(each.name, number, texts, *of_piece, pace))
    return tuple(found)


def steps(
    world: World, share: Share | None, several: bool, in_turn: bool
) -> tuple[list[Step], float]:
    """The shards of a share as its reader and its workers meet them, and what it passes by last.

    Args:
        world: what there is.
        share: None: all.
        several: shards are handed to other processes.
        in_turn: a worker tokenises, encodes and writes one after the other, not side by side.
    """
    rates, found, passing = world.rates, [], 0.0
    for piece in world.pieces:
        if not in_share(share, piece.text_set, piece.number):
            passing += rates.passed * piece.texts
            continue
        again = passing + piece.texts * (rates.own if share else rates.read)
        hand = piece.texts * rates.handed if several else 0.0
        tokenised = piece.tokens / (rates.tokenised * world.cores)
        parts = tokenised, world.encoding(piece), rates.written * piece.bytes
        work = sum(parts) if in_turn else max(parts)
        found.append(Step(again + hand, again, work, piece.texts, piece.bytes))
        passing = 0.0
    return found, passing


def crews(world: World, executor: str, workers: int) -> Iterator[tuple[Crew, Share | None, range]]:
    """Who works: each crew, its share, and which of the workers are its own."""
    ray = executor == "ray"
    size = {"shares": 1, "shares of 8 processes": min(NODE, workers)}.get(executor, workers)
    ahead = cluster.AHEAD if ray else OF_A_PROCESS if size > 1 else 3
    crew = Crew((1.0,) * size, ahead, not ray, ray, world.start, world.rates.checked)
    for number in range(workers // size):
        share = Share(number, workers // size) if executor.startswith("shares") else None
        yield crew, share, range(size * number, size * (number + 1))


def stage_0(world: World, executor: str, workers: int, case: Case, seed: int) -> Outcome:
    """Encodes all, and finishes the stores."""
    slow = set(np.random.default_rng(seed).permutation(workers)[: max(1, workers // 10)].tolist())
    speeds = [0.5 if case.slow and each in slow else 1.0 for each in range(workers)]
    outages = world.outages(workers, seed) if case.lost else []
    ends: list[Ended] = []
    for crew, share, own in crews(world, executor, workers):
        mine = [
            Outage(each.begins, each.ends, range(low - own.start, high - own.start))
            for each in outages
            if (low := max(each.workers.start, own.start))
            < (high := min(each.workers.stop, own.stop))
        ]
        todo, tail = steps(world, share, len(own) > 1 or executor == "ray", executor == "ray")
        ends.append(run(todo, replace(crew, speeds=speeds[own.start : own.stop]), mine, tail))
    ending = len(world.pieces) * world.rates.finished
    if executor.startswith("shares"):
        ending += sum(merging(world).values())
    seconds = max(each.seconds for each in ends) + ending
    busy = sum(each.busy for each in ends)
    return Outcome(
        executor,
        workers,
        case.name,
        hours=seconds / 3600,
        times_ideal=seconds * workers / world.work,
        waiting=1 - min(1.0, busy / (seconds * workers)),
        reading_hours=max(each.reading for each in ends) / 3600,
        ending_hours=ending / 3600,
        twice=sum(each.twice for each in ends),
        stops=sum(each.stops for each in ends),
        lost_most=max(max(each.losses.values(), default=0) for each in ends),
        held_gib=max(each.held for each in ends) * world.rates.held / 2**30,
    )


def median(outcomes: Sequence[Outcome]) -> Outcome:
    """The one whose hours are the median."""
    middle = statistics.median_low(each.hours for each in outcomes)
    return next(each for each in outcomes if each.hours == middle)


def merging(world: World) -> dict[str, float]:
    """Seconds that `m3eval merge` reads and checks, by text set."""
    found: dict[str, float] = defaultdict(float)
    for each in world.pieces:
        seconds = world.rates.looked * each.texts + world.rates.checked * each.bytes
        found[each.text_set] += seconds
    return found


def limits(world: World) -> dict[str, float]:
    """From how many workers on somebody else than the workers is the bound.

    Of shares it is the number at which passing by others' lines takes as long as encoding one's
    own, of merging that at which it takes as long as all encoding.
    """
    rates, texts = world.rates, sum(each.texts for each in world.pieces)
    return {
        "one reader": world.work / (texts * (rates.read + rates.handed)),
        "passing by": (world.work - texts * (rates.own - rates.passed)) / (texts * rates.passed),
        "merging": world.work / sum(merging(world).values()),
        "merging, a process for each corpus": world.work / max(merging(world).values()),
    }
