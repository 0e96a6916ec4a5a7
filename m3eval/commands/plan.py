"""What would it take? Tokens, operations, hours, bytes, memory of each stage; nothing is done."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from m3eval.config import Setup
from m3eval.console import duration, say, size
from m3eval.errors import UserError
from m3eval.reference.planning import DEVICES, lengths
from m3eval.retrievers import ivf_sizes
from m3eval.stages import planning
from m3eval.stages.planning import Plan

DEVICES_WORD = re.compile(r"(?:(\d{1,5})x)?(\w+)")


@dataclass(frozen=True)
class Machine:
    """What encodes."""

    count: int
    name: str
    stated: float  # operations per second of one, as its maker states

    @classmethod
    def read(cls, word: str) -> Machine:
        """`8xH100`, or `H100` for one.

        Raises:
            UserError: there is no such device.
        """
        found = DEVICES_WORD.fullmatch(word)
        if found is None or found[2].upper() not in DEVICES or found[1] == "0":
            raise UserError(
                f"devices={word}: takes a number of devices and their name, as in 8xH100; known "
                f"are {', '.join(DEVICES)}. For another name the nearest, and give "
                "tokens_per_second= of one, as measured."
            )
        name = found[2].upper()
        return cls(int(found[1] or 1), name, DEVICES[name] * 1e12)

    def __str__(self) -> str:
        return f"{self.count} x {self.name}"


def run(setup: Setup) -> None:
    """Prints the plan of a configuration."""
    cfg = setup.cfg
    machine = Machine.read(cfg.devices) if cfg.devices else None
    published = cfg.published
    if published is None:
        published = cfg.benchmark.name == lengths().benchmark and cfg.benchmark.root is None
    if published and machine is None:
        raise UserError(
            "Hours here are foreseen by encoding a sample, and no text is at hand: give devices=, "
            "as in devices=8xH100, or benchmark.root= where the texts lie."
        )
    plan = planning.plan(setup, published)
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"known by   {plan.known_by}")
    seconds = show_encoding(setup, plan, machine)
    seconds += show_search(setup, plan, machine)
    say("stage 2    evaluate: minutes at most; it reads the runs")
    if cfg.price is not None:
        say(
            f"cost       {seconds / 3600 * cfg.price:,.2f} at {cfg.price:g} an hour, encoding alone"
        )


def show_encoding(setup: Setup, plan: Plan, machine: Machine | None) -> float:
    """Prints stage 0; gives its seconds."""
    texts = sum(each.count for each in plan.sets.values())
    say(f"stage 0    embed: {texts:,} texts, {plan.tokens:,.0f} tokens")
    if plan.flops:
        say(f"           {plan.flops:.2g} floating-point operations")
    if plan.cpu_seconds is not None:
        say(
            f"           {plan.starting + plan.cpu_seconds:,.0f} CPU seconds on this machine, "
            f"{plan.starting:,.0f} of them before the first text is encoded"
        )
    if plan.price is not None:
        say(f"           about ${plan.tokens / 1e6 * plan.price:,.2f} to a service")
    seconds = show_hours(setup, plan, machine, plan.tokens)
    parts = {"document": 0.0, "query": 0.0}
    for each in plan.sets.values():
        parts[each.role] += each.count * each.bytes
    say(
        f"           {size(plan.store_bytes)} of stores: documents {size(parts['document'])}, "
        f"queries {size(parts['query'])}"
    )
    read = sum(each.count for each in plan.sets.values()) / planning.READ
    say(
        f"           reading {duration(read)}, tokenising {duration(plan.tokens / plan.tokenised)} "
        "of a core"
    )
    if machine and plan.price is None:
        of_one = rate(setup, plan, machine) / machine.count
        cores = of_one / plan.tokenised
        say(f"           {cores:.1f} CPU cores per device tokenise as fast as it encodes")
    if plan.sizes:
        say(f"           memory: {size(2 * plan.sizes.weights)} of weights in 16 bits on a device")
    return seconds


def show_search(setup: Setup, plan: Plan, machine: Machine | None) -> float:
    """Prints stage 1; gives the seconds of its encoding."""
    runs = setup.retrievers
    lines = sum(each.lines for each in plan.searches)
    queries = sum(each.queries for each in plan.searches)
    say(
        f"stage 1    search: {queries:,} queries, {len(runs)} retrievers "
        f"({', '.join(runs)}): {size(lines * len(runs) * planning.LINE)} of runs"
    )
    seconds = 0.0
    if "dense" in runs:
        say(f"           dense, exact: {duration(plan.dense_search)} of a core")
        say(f"           {approximate(plan)}")
    if "sparse" in runs:
        say(f"           sparse: {duration(plan.sparse_search)} of a core")
    again = plan.reranked(setup.retrieval.rerank_depth) if "multi_vector" in runs else 0.0
    if again:
        say(f"           multi_vector: at most {again:,.0f} tokens of candidates, encoded again")
        seconds = show_hours(setup, plan, machine, again)
    most = max(each.queries for each in plan.searches)
    block = setup.runtime.search_block
    memory = block * plan.width * 4 + min(most, 1024) * block * 4
    memory += most * setup.retrieval.depth * planning.HIT * 2
    say(f"           memory: about {size(memory)} for the largest language, dense")
    return seconds


def approximate(plan: Plan) -> str:
    """Whether approximate search would save something, in a sentence."""
    asked: Counter[str] = Counter()  # by corpus, which several languages may search
    for each in plan.searches:
        asked[each.documents.name] += each.queries
    corpora = {each.documents.name: each for each in plan.searches}
    pays = [
        name
        for name, each in corpora.items()
        if ivf_sizes.worth(each.documents.count, each.depth, asked[name])
    ]
    if not pays:
        most = max(asked.values())
        return f"approximate search saves nothing with {most:,} queries of a corpus at most"
    return f"approximate search (retriever.dense.engine=ivf) could pay for {', '.join(pays)}"


def rate(setup: Setup, plan: Plan, machine: Machine) -> float:
    """Tokens per second of all devices.

    Raises:
        UserError: neither the model's operations nor a measured rate are known.
    """
    if setup.cfg.tokens_per_second:
        return machine.count * setup.cfg.tokens_per_second
    if not plan.flops:
        raise UserError(
            f"The operations of {setup.cfg.encoder.name} are not known: give tokens_per_second= of "
            "one device, as measured there by m3eval embed plan_only=true."
        )
    return machine.count * machine.stated * setup.cfg.utilisation * plan.tokens / plan.flops


def show_hours(setup: Setup, plan: Plan, machine: Machine | None, tokens: float) -> float:
    """Prints how long so many tokens take; gives seconds."""
    if plan.price is not None:  # how long a service takes, it decides
        return 0.0
    if machine is None:
        threads = setup.runtime.threads
        seconds = (plan.cpu_seconds or 0.0) * tokens / plan.tokens / threads
        say(f"           {duration(seconds)} here on {threads} threads, if nothing else runs")
        return seconds
    seconds = tokens / rate(setup, plan, machine)
    how = (
        "as measured by you"
        if setup.cfg.tokens_per_second
        else f"at {setup.cfg.utilisation:.0%} of the stated {machine.stated / 1e12:.0f} TFLOP/s: "
        "stated, not measured"
    )
    say(f"           {duration(seconds)} on {machine}, {how}")
    return seconds
