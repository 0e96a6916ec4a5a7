"""Single queries of two systems, and a hybrid's score by its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m3eval.metrics.significance import TIE
from m3eval.reports.plots import style
from m3eval.reports.site.surface import Surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 4  # in a row


def by_query(
    title: str,
    metric: str,
    system: str,
    against: str,
    differences: Mapping[str, np.ndarray],
    below: str,
) -> Figure:
    """A panel for each language: the differences of single queries, the best first.

    Args:
        title: of the benchmark.
        metric: of the scores.
        system: label of the system whose scores count as better.
        against: label of the other.
        differences: language -> [n] x 100, in any order.
        below: what must be known of them.
    """
    columns = min(PANELS, len(differences))
    rows = math.ceil(len(differences) / columns)
    made = style.figure(
        max(6.0, 2.3 * columns + 0.6),
        1.7 * rows + 1.3,
        f"{metric}, query by query: {title}\n{system} minus {against}",
        below,
    )
    panels = made.subplots(rows, columns, sharey=True, squeeze=False).flat
    for axes, (language, values) in zip(panels, differences.items(), strict=False):
        ordered = np.sort(values)[::-1]
        better, worse = ordered > 100 * TIE, ordered < -100 * TIE
        colours = np.where(better, style.BETTER, np.where(worse, style.WORSE, style.EVEN))
        axes.bar(np.arange(len(ordered)), ordered, width=1.0, color=list(colours), linewidth=0)
        axes.axhline(0, color="#333333", linewidth=0.8)
        even = len(ordered) - better.sum() - worse.sum()
        axes.set_title(
            f"{language}: {ordered.mean():+.1f}\n{better.sum()} better, {even} even, "
            f"{worse.sum()} worse",
            fontsize=8,
        )
        axes.set_xticks([])
        axes.grid(visible=False, axis="x")
    for axes in list(made.axes)[len(differences) :]:
        axes.set_visible(False)
    made.supylabel("points", fontsize=9)
    return made


def by_weights(title: str, of_hybrid: Surface) -> Figure:
    """A hybrid's score for every weight: a curve of two components, a table of three."""
    heading = f"{of_hybrid.metric} of {of_hybrid.name} by weights: {title}"
    below = f"◇ as configured, {of_hybrid.configured}: {of_hybrid.score:.1f}"
    if of_hybrid.across:
        return _table(heading, below, of_hybrid)
    made = style.figure(6.5, 4, heading, below)
    axes = made.add_subplot()
    cells = [(weight, cell) for weight, (cell,) in of_hybrid.rows if cell is not None]
    axes.plot(
        [weight for weight, _ in cells],
        [cell.value for _, cell in cells],
        "o-",
        color=style.COLOURS[0],
        markersize=4,
    )
    for weight, cell in cells:
        if cell.best:
            axes.annotate(
                f"{cell.value:.1f}",
                (weight, cell.value),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontweight="bold",
            )
    axes.plot(
        of_hybrid.place[:1],
        [of_hybrid.score],
        "D",
        color=style.WORSE,
        markerfacecolor="none",
        markersize=10,
    )
    axes.margins(y=0.15)
    axes.set_xlabel(f"weight of {of_hybrid.down}; the rest is {of_hybrid.rest}'s")
    axes.set_ylabel(f"{of_hybrid.metric} x 100")
    return made


def _table(heading: str, below: str, of_hybrid: Surface) -> Figure:
    weights = [weight for weight, _ in of_hybrid.rows]
    values = np.array(
        [
            [math.nan if cell is None else cell.value for cell in cells]
            for _, cells in of_hybrid.rows
        ]
    )
    size = 0.48 * len(weights)
    made = style.figure(max(5.5, size + 2.2), size + 1.6, heading, below)
    axes = made.add_subplot()
    image = axes.imshow(values, cmap="cividis", origin="lower", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, (_, cells) in enumerate(of_hybrid.rows):
        for column, cell in enumerate(cells):
            if cell is None:
                continue
            axes.text(
                column,
                row,
                f"{cell.value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="black" if cell.value > middle else "white",
                fontweight="bold" if cell.best else "normal",
                bbox={"boxstyle": "square,pad=0.15", "fill": False, "edgecolor": "#D55E00"}
                if cell.best
                else None,
            )
    last = len(weights) - 1  # where the weight is 1
    axes.plot(
        [of_hybrid.place[1] * last],
        [of_hybrid.place[0] * last],
        "D",
        markerfacecolor="none",  # the number under it stays legible
        markeredgecolor=style.WORSE,
        markeredgewidth=1.5,
        markersize=20,
    )
    axes.grid(visible=False)
    axes.set_xticks(range(len(of_hybrid.columns)), of_hybrid.columns)
    axes.set_yticks(range(len(weights)), [f"{weight:.2g}" for weight in weights])
    axes.set_xlabel(f"weight of {of_hybrid.across}")
    axes.set_ylabel(f"weight of {of_hybrid.down}; the rest is {of_hybrid.rest}'s")
    made.colorbar(image, ax=axes, label=f"{of_hybrid.metric} x 100", shrink=0.8)
    return made
