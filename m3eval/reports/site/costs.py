"""What systems cost, as far as it was measured: bytes of stores, tokens and queries per second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.layout import Layout, RunFiles
from m3eval.manifests import RunCost
from m3eval.records import read
from m3eval.reports.site.boards import SystemRow
from m3eval.reports.stores import StoreOnDisk
from m3eval.retrievers.retriever import inputs, shipped


class Cost(NamedTuple):
    """Of one system on one benchmark; None: not measured."""

    bytes_per_document: float | None
    tokens_per_second: float | None  # of stage 0, all representations in one pass
    seconds_per_query: float | None  # of stage 1
    machine: str  # on which
    remarks: tuple[str, ...]  # what was not measured and why


def cost(row: SystemRow, runs: Path | None) -> Cost:
    """What a system cost.

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
    """Which of a document's representations a retriever needs, or why that is not known.

    Args:
        retrievers: their recorded settings by name.
        name: of one.
    """
    settings = retrievers[name]
    retriever = shipped(settings["_target_"])
    if retriever is None:
        return "a retriever of somebody's own: what it keeps is not known"
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
    """Seconds per query that stage 1 measured, and on what."""
    files = [RunFiles(trec) for trec in sorted((layout.runs / row.retriever).glob("*.trec"))]
    timed = [read(run.cost, RunCost) for run in files if run.cost.exists()]
    queries = sum(cost.queries for cost in timed)
    machine = ", ".join(dict.fromkeys(cost.runtime for cost in timed))
    return (sum(cost.seconds for cost in timed) / queries if queries else None), machine


@dataclass(frozen=True)
class ChartPoint:
    """A system in the chart of quality against bytes; positions in SVG units."""

    label: str
    x: float
    y: float
    text_x: float
    text_y: float


def chart(
    found: list[tuple[str, float, float]], width: float = 640, height: float = 300
) -> dict[str, Any] | None:
    """Quality against bytes per document, bytes on a logarithmic scale, as points, ticks and their places.

    Args:
        found: label, bytes per document, score x 100.
        width: of the plot in SVG units.
        height: likewise.
    """
    if len(found) < 2:
        return None
    low = math.floor(math.log10(min(size for _, size, _ in found)))
    high = max(low + 1, math.ceil(math.log10(max(size for _, size, _ in found))))
    bottom = math.floor(min(score for *_, score in found) / 10) * 10
    top = max(bottom + 10, math.ceil(max(score for *_, score in found) / 10) * 10)
    across = lambda size: 50 + (width - 70) * (math.log10(size) - low) / (high - low)  # noqa: E731
    up = lambda score: height - 40 - (height - 60) * (score - bottom) / (top - bottom)  # noqa: E731
    points = []
    for label, size, score in found:
        x, y = across(size), up(score)
        points.append(ChartPoint(label, x, y, x - 8 if x > width * 0.7 else x + 8, y + 4))
    return {
        "width": width,
        "height": height,
        "points": points,
        "across": [(across(10**power), f"{10**power:,}") for power in range(low, high + 1)],
        "up": [
            (up(score), str(score))
            for score in range(bottom, top + 1, max(10, (top - bottom) // 50 * 10))
        ],
    }
