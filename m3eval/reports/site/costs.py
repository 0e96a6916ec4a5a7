"""What systems cost, as far as it was measured: bytes of stores, tokens and queries per second."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.layout import Layout, RunFiles
from m3eval.manifests import RunCost
from m3eval.records import read
from m3eval.reports.site.boards import SystemRow
from m3eval.reports.stores import StoreOnDisk
from m3eval.retrievers.retriever import inputs, shipped


class Cost(NamedTuple):
    """What one system costs on one benchmark; None: not measured."""

    bytes_per_document: float | None
    tokens_per_second: float | None  # of stage 0, all representations in one pass
    seconds_per_query: float | None  # of stage 1
    machine: str  # that it was measured on
    remarks: tuple[str, ...]  # what was not measured, and why


def system_cost(row: SystemRow, runs: Path | None) -> Cost:
    """What a system costs.

    Args:
        row: the system.
        runs: outputs/{benchmark}/{encoder}; None: they are not at hand.
    """
    if runs is None:
        return Cost(None, None, None, "", ("its runs were not given",))
    layout = Layout(runs)
    search, machine = _search(row, layout)
    needed = representations(row.result.config["retriever"], row.retriever)
    if isinstance(needed, str):
        return Cost(None, None, search, machine, (needed,))
    stores = [
        StoreOnDisk(files)
        for files in layout.stores()
        if files.folder.name.startswith("corpus-") and files.manifest.exists()
    ]
    if not stores:
        remark = f"no finished store in {runs.name}/stores"
        return Cost(None, None, search, machine, (remark,))
    remarks = [
        f"{name} vectors are not stored but computed for candidates"
        for store in stores
        for name in needed
        if name not in store.bytes
    ]
    size = sum(store.bytes.get(name, 0) for store in stores for name in needed)
    per_document = None if remarks else size / sum(store.count for store in stores)
    timed = [store.cost for store in stores if store.cost]
    if not timed:
        remarks.append("no cost.json in its stores")
    seconds = sum(cost.seconds for cost in timed)
    rate = sum(cost.tokens for cost in timed) / seconds if timed else None
    if search is None:
        remarks.append("time to search: no cost.json beside its runs")
    machine = ", ".join(dict.fromkeys(cost.runtime for cost in timed)) or machine
    return Cost(per_document, rate, search, machine, tuple(dict.fromkeys(remarks)))


def representations(retrievers: Mapping[str, Any], name: str) -> set[str] | str:
    """The representations of a document that a retriever needs, or why these are not known.

    Args:
        retrievers: recorded settings by the retriever's name.
        name: of the retriever.
    """
    if name not in retrievers:
        return f"its settings do not say what {name} is"
    settings = retrievers[name]
    retriever = shipped(settings["_target_"])
    if retriever is None:
        return "a retriever of somebody's own: what it keeps is not known"
    if retriever.foreign:
        return "made elsewhere: what it keeps is not known"
    if retriever.indexes_texts:
        return "an index of texts: its size and the time to build it are not kept"
    if retriever.model:
        return f"{retriever.label}: it reads texts anew for every query"
    needed: set[str] = set(retriever.stored)
    for other in inputs(settings):
        of_input = representations(retrievers, other)
        if isinstance(of_input, str):
            return of_input
        needed |= of_input
    return needed


def _search(row: SystemRow, layout: Layout) -> tuple[float | None, str]:
    """The seconds per query that stage 1 measured, and the machine."""
    files = [RunFiles(trec) for trec in sorted((layout.runs / row.retriever).glob("*.trec"))]
    timed = [read(run.cost, RunCost) for run in files if run.cost.exists()]
    queries = sum(cost.queries for cost in timed)
    machine = ", ".join(dict.fromkeys(cost.runtime for cost in timed))
    return (sum(cost.seconds for cost in timed) / queries if queries else None), machine


class MeasuredSystem(NamedTuple):
    """A system whose quality and size are known."""

    label: str
    bytes_per_document: float
    score: float  # x 100


class ChartPoint(NamedTuple):
    """A system in the chart; positions in SVG units."""

    label: str
    x: float
    y: float
    text_x: float  # where its label begins, or ends if it stands to the left
    text_y: float  # the middle of its line


class Chart(NamedTuple):
    """Quality against bytes per document; positions in SVG units."""

    width: float
    height: float
    points: list[ChartPoint]
    across: list[tuple[float, str]]  # ticks of bytes: position and label
    up: list[tuple[float, str]]  # ticks of scores, likewise


def quality_chart(
    systems: list[MeasuredSystem], width: float = 640, height: float = 300
) -> Chart | None:
    """Quality against bytes per document, on a logarithmic scale; None for fewer than two systems.

    Args:
        systems: what is shown.
        width: of the chart in SVG units.
        height: likewise.
    """
    if len(systems) < 2:
        return None
    sizes = [math.log10(system.bytes_per_document) for system in systems]
    scores = [system.score for system in systems]
    low = math.floor(min(sizes))
    high = max(low + 1, math.ceil(max(sizes)))
    bottom = math.floor(min(scores) / 10) * 10
    top = max(bottom + 10, math.ceil(max(scores) / 10) * 10)

    def across(power: float) -> float:
        return 50 + (width - 70) * (power - low) / (high - low)

    def up(score: float) -> float:
        return height - 40 - (height - 60) * (score - bottom) / (top - bottom)

    places = [
        (system.label, across(power), up(system.score))
        for system, power in zip(systems, sizes, strict=True)
    ]
    points = list(_labelled(places, width * 0.7, height - 40))
    step = max(10, (top - bottom) // 50 * 10)
    return Chart(
        width,
        height,
        points,
        [(across(power), f"{10**power:,}") for power in range(low, high + 1)],
        [(up(score), str(score)) for score in range(bottom, top + 1, step)],
    )


# Of a label in SVG units, at the largest letters that the style sheet has.
LINE, LETTER, GAP = 17.0, 9.0, 8.0


def _labelled(
    places: list[tuple[str, float, float]], right: float, lowest: float
) -> Iterator[ChartPoint]:
    """Points whose labels lie on no other label and no other point.

    A label stands beside its point or, where there is no room, as few lines above or below as will
    do; beyond `right` it stands to the left.

    Args:
        places: label, x and y of each point.
        right: x.
        lowest: y of the lowest line that a label may stand on.
    """
    lines = math.ceil(lowest / LINE)
    shifts = [0.0, *(sign * LINE * n for n in range(1, lines) for sign in (1, -1))]
    taken = [(x - 5, x + 5, y) for _, x, y in places]
    for label, x, y in places:
        left = x > right
        text_x = x - GAP if left else x + GAP
        ends = sorted((text_x, text_x + LETTER * len(label) * (-1 if left else 1)))
        free = (
            y + shift
            for shift in shifts
            if LINE <= y + shift <= lowest
            and not any(
                low < ends[1] and ends[0] < high and abs(y + shift - other) < LINE
                for low, high, other in taken
            )
        )
        text_y = next(free, y)
        taken.append((ends[0], ends[1], text_y))
        yield ChartPoint(label, x, y, text_x, text_y)
