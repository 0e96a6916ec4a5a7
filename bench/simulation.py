"""All of MIRACL on many workers, simulated: who waits for whom, and what breaks first.

    python -m bench.simulation                                64 H100 at 40 % of what is stated
    python -m bench.simulation --tokens-per-second 60000      a tenth of that
    python -m bench.simulation --tiny                         two languages, seconds

Stage 0 goes by the rules of the code (`bench.schedule`), with what was measured in CPU seconds
(`bench.rates`: results/bench/rates.json) and what `m3eval plan` foresees of tokens and bytes. Each
of `EXECUTORS` is tried with several numbers of workers: quiet; with a tenth of the workers at half
speed; with nodes of 8 workers that are lost; and with both. Losses are the same for all executors;
figures are medians over `--seeds`. Stage 1 in parts and 10^9 documents are sums, no simulation.
Nothing is known here of networks, of file systems that many share, or of a real GPU's rate. Writes
results/bench/simulation.json.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import growth
from bench.measure import ROOT, rounded, say
from bench.rates import Rates
from bench.schedule import Crew, Ended, Outage, Step, run
from m3eval.config import Setup, compose
from m3eval.files import read_json, write_json
from m3eval.records import record
from m3eval.reference.planning import DEVICES
from m3eval.runtime import Share
from m3eval.stages import planning
from m3eval.stages.executors import cluster, processes
from m3eval.stages.planning import Plan
from m3eval.stages.shards import in_share

NODE = 8  # workers of a node
WORKERS = (1, 8, 64, 256)
UTILISATION = 0.4  # of what a device's maker states, as conf/plan has it: not measured
FILES = 6  # of a shard with dense and sparse vectors
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


TINY = ("sw", "yo")
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
    in_order = sorted(plan.sets.values(), key=lambda each: each.stored)  # as `shards.missing`
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
    if executor.startswith("shares"):  # `m3eval merge`
        ending += world.rates.looked * sum(each.texts for each in world.pieces)
        ending += world.rates.checked * sum(each.bytes for each in world.pieces)
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


def limits(world: World) -> dict[str, float]:
    """From how many workers on somebody else than the workers is the bound.

    Of shares it is the number at which passing by others' lines takes as long as encoding one's
    own, of merging that at which it takes as long as all encoding.
    """
    rates, texts = world.rates, sum(each.texts for each in world.pieces)
    merge = rates.looked * texts + rates.checked * sum(each.bytes for each in world.pieces)
    return {
        "one reader": world.work / (texts * (rates.read + rates.handed)),
        "passing by": (world.work - texts * (rates.own - rates.passed)) / (texts * rates.passed),
        "merging": world.work / merge,
    }


def simulated(world: World, numbers: Sequence[int], seeds: int) -> list[Outcome]:
    """Every executor with every number of workers in every case."""
    found = []
    for workers, executor, case in itertools.product(numbers, EXECUTORS, CASES):
        if executor == "shares of 8 processes" and workers <= NODE:
            continue  # the same as processes
        tries = range(seeds if case.slow or case.lost else 1)
        found.append(median([stage_0(world, executor, workers, case, seed) for seed in tries]))
        one = found[-1]
        say(
            f"{workers:4} workers, {executor:22} {case.name:6} {one.hours:8.2f} h, "
            f"{one.times_ideal:6.2f} times ideal, {one.waiting:4.0%} waiting, {one.twice} twice, "
            f"{one.held_gib:.2f} GiB held"
        )
    return found


def main() -> None:
    """Simulates, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stated = DEVICES["H100"] * 1e12 * UTILISATION
    parser.add_argument("--tokens-per-second", type=float, help="of a worker; default: H100")
    parser.add_argument("--cores", type=int, default=8, help="of a worker")
    parser.add_argument("--hours", type=float, default=2.0, help="until a node is lost")
    parser.add_argument("--minutes", type=float, default=10.0, help="until it is back")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--shard-size", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="two languages")
    parser.add_argument("--rates", type=Path, default=ROOT / "results/bench/rates.json")
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/simulation.json")
    options = parser.parse_args()
    rates = record(read_json(options.rates)["rates"], Rates)
    words = [f"languages=[{','.join(TINY)}]"] if options.tiny else []
    setup = Setup(compose("benchmark=miracl", "encoder=bge_m3", *words))
    plan = planning.plan(setup, published=True)
    if plan.flops is None:
        raise AssertionError("BGE-M3's sizes are known")
    device = options.tokens_per_second or stated * plan.tokens / plan.flops
    world = World(
        pieces(plan, rates, options.shard_size),
        rates,
        device,
        options.cores,
        hours=options.hours,
        minutes=options.minutes,
    )
    say(
        f"{len(world.pieces):,} shards, {FILES * len(world.pieces):,} files, "
        f"{world.work / 3600:.2f} hours of one worker at {device:,.0f} tokens/s"
    )
    outcomes = simulated(world, options.workers, options.seeds)
    bounds = limits(world)
    for name, workers in bounds.items():
        say(f"{name} is the bound from {workers:.1f} workers on")
    parts = growth.stage_1(plan, rates, options.cores)
    for each in parts:
        say(f"stage 1 in {each.parts:3} parts: {each.seconds:,.0f} s, {each.gigabytes:.1f} GB")
    paper = growth.paper(plan, rates, device)
    for name, value in paper.items():
        say(f"10^9 documents: {name}: {value:,.4g}")
    write_json(
        options.output,
        {
            "tokens_per_second": rounded(device),
            "cores": options.cores,
            "start_seconds": world.start,
            "hours_until_a_node_is_lost": world.hours,
            "minutes_until_it_is_back": world.minutes,
            "shards": len(world.pieces),
            "files": FILES * len(world.pieces),
            "hours_of_one_worker": rounded(world.work / 3600),
            "bound_from_so_many_workers_on": rounded(bounds),
            "stage_0": [rounded(asdict(each)) for each in outcomes],
            "stage_1": [rounded(each._asdict()) for each in parts],
            "a_billion_documents": rounded(paper),
        },
    )
    say(f"written {options.output}")


if __name__ == "__main__":
    main()
