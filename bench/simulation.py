"""All of MIRACL on many workers, simulated: who waits for whom, and what breaks first.

    python -m bench.simulation                 H100 at 40 % of what is stated, and a tenth of that
    python -m bench.simulation --tokens-per-second 60000 --workers 16 32
    python -m bench.simulation --tiny          two languages, seconds

Stage 0 goes by the rules of the code (`bench.executors`), with what was measured in CPU seconds
(`bench.rates`: results/bench/rates.json) and what `m3eval plan` foresees of tokens and bytes. Each
executor is tried with several numbers of workers: quiet; with a tenth of them at half speed; with
nodes of 8 workers that are lost; and with both. Losses are the same for all executors; figures are
medians over `--seeds`. Stage 1 in parts and 10^9 documents are sums, no simulation. Nothing is
known here of networks, of file systems that many share, or of a real GPU's rate. Writes
results/bench/simulation.json.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import growth
from bench.executors import CASES, EXECUTORS, NODE, Outcome, World, limits, median, pieces, stage_0
from bench.measure import ROOT, rounded, say
from bench.rates import Rates
from m3eval.config import Setup, compose
from m3eval.files import read_json, write_json
from m3eval.records import record
from m3eval.reference.planning import DEVICES
from m3eval.stages import planning

WORKERS = (1, 8, 64, 256)
TINY = ("sw", "yo")
UTILISATION = 0.4  # of what a device's maker states, as conf/plan.yaml has it: not measured
FILES = 6  # of a shard with dense and sparse vectors


def simulated(world: World, numbers: Sequence[int], seeds: int) -> dict[str, Any]:
    """Every executor with every number of workers in every case; printed, and as it is written."""
    hours = world.work / 3600
    say(f"{world.tokens_per_second:,.0f} tokens/s of a worker: {hours:.2f} hours of one")
    found: list[Outcome] = []
    for workers, executor, case in itertools.product(numbers, EXECUTORS, CASES):
        if executor == "shares of 8 processes" and workers <= NODE:
            continue  # the same as processes
        tries = range(seeds if case.slow or case.lost else 1)
        one = median([stage_0(world, executor, workers, case, seed) for seed in tries])
        found.append(one)
        say(
            f"{workers:4} workers, {executor:22} {case.name:6} {one.hours:8.2f} h, "
            f"{one.times_ideal:6.2f} times ideal, {one.waiting:4.0%} waiting, {one.twice} twice, "
            f"{one.held_gib:.2f} GiB held"
        )
    bounds = limits(world)
    for name, workers in bounds.items():
        say(f"{name} is the bound from {workers:.1f} workers on")
    return {
        "tokens_per_second": rounded(world.tokens_per_second),
        "hours_of_one_worker": rounded(hours),
        "bound_from_so_many_workers_on": rounded(bounds),
        "outcomes": [rounded(asdict(each)) for each in found],
    }


def main() -> None:
    """Simulates, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens-per-second", type=float, nargs="+", help="of a worker")
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
    h100 = DEVICES["H100"] * 1e12 * UTILISATION * plan.tokens / plan.flops
    shards = pieces(plan, rates, options.shard_size)
    say(f"{len(shards):,} shards, {FILES * len(shards):,} files")
    reports = []
    for device in options.tokens_per_second or (h100, h100 / 10):
        world = World(
            shards, rates, device, options.cores, hours=options.hours, minutes=options.minutes
        )
        reports.append(simulated(world, options.workers, options.seeds))
    parts = growth.stage_1(plan, rates, options.cores)
    for each in parts:
        say(f"stage 1 in {each.parts:3} parts: {each.seconds:,.0f} s, {each.gigabytes:.1f} GB")
    paper = growth.paper(plan, rates, h100)
    for name, value in paper.items():
        say(f"10^9 documents: {name}: {value:,.4g}")
    write_json(
        options.output,
        {
            "cores_of_a_worker": options.cores,
            "hours_until_a_node_is_lost": options.hours,
            "minutes_until_it_is_back": options.minutes,
            "shards": len(shards),
            "files": FILES * len(shards),
            "stage_0": reports,
            "stage_1": [rounded(each._asdict()) for each in parts],
            "a_billion_documents": rounded(paper),
        },
    )
    say(f"written {options.output}")


if __name__ == "__main__":
    main()
