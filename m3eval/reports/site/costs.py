"""What systems cost, as far as it was measured where their runs lie: stores' bytes, tokens and queries per second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.encoders.representations import Representation
from m3eval.manifests import read_record
from m3eval.reports.site.results import Row
from m3eval.reports.stores import bytes_of
from m3eval.retrievers.retriever import shipped, with_inputs


class Cost(NamedTuple):
    """Of one system on one benchmark; None: not measured."""

    bytes_per_document: float | None
    tokens_per_second: float | None  # of stage 0, all representations in one pass
    seconds_per_query: float | None  # of stage 1
    machine: str  # on which
    remarks: tuple[str, ...]  # what was not measured and why


@dataclass(frozen=True)
class Point:
    """A system in the chart of quality against bytes; positions in SVG units."""

    label: str
    x: float
    y: float
    text_x: float
    text_y: float


def cost(row: Row, runs: Path | None) -> Cost:
    """What a system cost.

    Args:
        row: the system.
        runs: outputs/{benchmark}/{encoder}; None: they are not at hand.
    """
    if runs is None:
        return Cost(None, None, None, "", ("its runs were not given",))
    needed = stored_representations(row.result.config["retriever"], row.retriever)
    if isinstance(needed, str):
        return Cost(None, None, *_search(row, runs), (needed,))
    stores = [path.parent for path in sorted(runs.glob("stores/corpus-*/manifest.json"))]
    if not stores:
        return Cost(None, None, *_search(row, runs), (f"no finished store in {runs.name}/stores",))
    remarks, size, documents = [], 0, 0
    for store in stores:
        on_disk = bytes_of(store)
        documents += read_record(store / "manifest.json")["plan"]["texts"]["count"]
        size += sum(on_disk.get(name, 0) for name in needed)
        remarks += [
            f"{name} vectors are not stored but computed for candidates"
            for name in needed
            if name not in on_disk
        ]
    timed = [read_record(store / "cost.json") for store in stores if (store / "cost.json").exists()]
    if not timed:
        remarks.append("no cost.json in its stores")
    speed = (
        sum(one["tokens"] for one in timed) / sum(one["seconds"] for one in timed)
        if timed
        else None
    )
    seconds, machine = _search(row, runs)
    if seconds is None:
        remarks.append("time to search: no cost.json beside its runs")
    machine = ", ".join(dict.fromkeys(one["runtime"] for one in timed)) or machine
    absent = any("not stored" in remark for remark in remarks)
    return Cost(
        None if absent else size / documents, speed, seconds, machine, tuple(dict.fromkeys(remarks))
    )


def stored_representations(
    retrievers: Mapping[str, Mapping[str, Any]], name: str
) -> set[Representation] | str:
    """The representations of a document that a retriever and those it builds on need.

    Args:
        retrievers: settings by name, as a result recorded them.
        name: of the retriever.

    Returns:
        The representations; or why its cost is not their size, in a sentence.
    """
    needed: set[Representation] = set()
    for each in with_inputs([name], lambda other: retrievers.get(other, {})):
        retriever = shipped(retrievers.get(each, {}).get("_target_", ""))
        if retriever is None:
            return f"{each} is not a retriever of m3eval: what it has on disk is not known"
        if retriever.indexes_texts:
            return "an index of texts: its size and the time to build it are not kept"
        needed |= {*retriever.stored}
    return needed


def _search(row: Row, runs: Path) -> tuple[float | None, str]:
    """Seconds per query that stage 1 measured, and on what."""
    timed = [
        read_record(path) for path in sorted((runs / "runs" / row.retriever).glob("*.cost.json"))
    ]
    asked = sum(one["queries"] for one in timed)
    machine = ", ".join(dict.fromkeys(one["runtime"] for one in timed))
    return (sum(one["seconds"] for one in timed) / asked if asked else None), machine


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
        points.append(Point(label, x, y, x - 8 if x > width * 0.7 else x + 8, y + 4))
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
