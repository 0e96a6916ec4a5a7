"""A hybrid's score by its weights, as a table.

The first weight goes down and the second across; a third has what is left to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Weights = tuple[float, ...]  # they sum to 1


class SurfaceCell(NamedTuple):
    """The score with some weights."""

    value: float  # x 100
    heat: float  # 0 for the lowest score of the table, 1 for the highest
    best: bool


class Surface(NamedTuple):
    """What the template shows of one hybrid."""

    name: str  # of the hybrid
    metric: str
    result: str  # the name of the result that it belongs to
    languages: int  # how many the scores are means of
    down: str  # the component whose weight heads a row
    across: str  # the component whose weight heads a column; empty where there are two components
    rest: str  # the component that has what is left to 1
    columns: list[str]
    rows: list[tuple[float, list[SurfaceCell | None]]]  # weight, cells; None: weights exceed 1
    configured: str  # the configured weights, in words
    score: float  # x 100, with the configured weights
    place: Weights  # the configured weights, scaled to sum to 1


def surface(
    name: str,
    metric: str,
    result: str,
    languages: int,
    values: Mapping[Weights, float],
    configured: Mapping[str, float],
    score: float,
) -> Surface:
    """The table of one hybrid.

    Args:
        name: of the hybrid.
        metric: of the scores.
        result: the name of the result that the hybrid belongs to.
        languages: how many the scores are means of.
        values: weights, in the order of `configured` -> score x 100.
        configured: two or three components and their weights.
        score: x 100, with these.
    """
    low, high = min(values.values()), max(values.values())

    def cell(weights: Weights | None) -> SurfaceCell | None:
        if weights is None:
            return None
        value = values[weights]
        return SurfaceCell(value, round((value - low) / (high - low or 1), 2), value == high)

    components = list(configured)
    rows: list[tuple[float, list[SurfaceCell | None]]]
    if len(components) == 2:
        rows = [(weights[0], [cell(weights)]) for weights in sorted(values)]
        columns, across = [metric], ""
    else:
        steps = sorted({weights[0] for weights in values})
        by_first_two = {weights[:2]: weights for weights in values}
        rows = [
            (first, [cell(by_first_two.get((first, second))) for second in steps])
            for first in steps
        ]
        columns, across = [f"{weight:.2g}" for weight in steps], components[1]
    return Surface(
        name,
        metric,
        result,
        languages,
        down=components[0],
        across=across,
        rest=components[-1],
        columns=columns,
        rows=rows,
        configured=", ".join(f"{weight:g} {component}" for component, weight in configured.items()),
        score=score,
        place=tuple(weight / (sum(configured.values()) or 1) for weight in configured.values()),
    )
