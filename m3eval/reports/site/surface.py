"""A hybrid's score by its weights, as a table: one weight down, another across, a third is what is left to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def surface(
    values: Mapping[tuple[float, ...], float],
    configured: Mapping[str, float],
    score: float,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """What the template shows of one hybrid.

    Args:
        values: weights in the order of `configured`, which sum to 1, -> score x 100.
        configured: two or three components and the weights they have.
        score: x 100, with these.
        about: name of the hybrid, metric, result, and how many languages the scores are means of.
    """
    names = list(configured)
    low, high = min(values.values()), max(values.values())

    def cell(weights: tuple[float, ...]) -> dict[str, Any] | None:
        if weights not in values:
            return None
        value = values[weights]
        return {
            "value": value,
            "heat": round((value - low) / (high - low or 1), 2),
            "best": value == high,
        }

    steps = sorted({weights[0] for weights in values})
    if len(names) == 2:
        rows = [(weights[0], [cell(weights)]) for weights in sorted(values)]
        columns, across, rest = [about["metric"]], "", names[1]
    else:
        third = {(one, two): (one, two, rest) for one, two, rest in values}
        rows = [
            (weight, [cell(third.get((weight, other), ())) for other in steps]) for weight in steps
        ]
        columns, across, rest = [f"{weight:.2g}" for weight in steps], names[1], names[2]
    return {
        **about,
        "down": names[0],
        "across": across,
        "rest": rest,
        "columns": columns,
        "rows": rows,
        "configured": ", ".join(f"{weight:g} {name}" for name, weight in configured.items()),
        "score": score,
    }
