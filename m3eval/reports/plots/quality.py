"""Quality of systems: by language with intervals, against what they cost, and by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from m3eval.reference.published import AVERAGE
from m3eval.reports.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """A score x 100 and its confidence interval; None: not known."""

    score: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SystemScores:
    """What pictures show of one system."""

    label: str
    by_language: Mapping[str, Estimate]  # and AVERAGE
    score: float  # x 100, over all languages
    # What it costs -> how much; what was not measured is left out. The keys are those of `COSTS`.
    costs: Mapping[str, float] = field(default_factory=dict)
    recall: Mapping[int, float] = field(default_factory=dict)  # depth -> x 100


# What costs are called -> whether more of it is better.
COSTS = {
    "bytes per document": False,
    "tokens per second (stage 0)": True,
    "milliseconds per query (stage 1)": False,
}


def by_language(
    title: str, metric: str, languages: Sequence[str], systems: Sequence[SystemScores], below: str
) -> Figure:
    """A row for each language, a mark for each system, with its interval.

    Args:
        title: of the benchmark.
        metric: of the scores.
        languages: top to bottom.
        systems: at least one.
        below: what must be known of the intervals.
    """
    row = 0.14 + 0.085 * len(systems)
    made = style.figure(7.5, 2 + row * len(languages), f"{metric} by language: {title}")
    axes = made.add_subplot()
    for i, system in enumerate(systems):
        shift = (i - (len(systems) - 1) / 2) * 0.8 / len(systems)
        places = [n for n, language in enumerate(languages) if language in system.by_language]
        found = [system.by_language[languages[n]] for n in places]
        axes.errorbar(
            [each.score for each in found],
            [n + shift for n in places],
            xerr=[
                [each.score - (each.score if each.low is None else each.low) for each in found],
                [(each.score if each.high is None else each.high) - each.score for each in found],
            ],
            fmt=style.marker(i),
            color=style.colour(i),
            markersize=4,
            linewidth=0.9,
            label=system.label,
        )
    for n in range(0, len(languages), 2):
        axes.axhspan(n - 0.5, n + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
    axes.set_yticks(range(len(languages)), languages)
    if languages[0] == AVERAGE:
        axes.axhline(0.5, color="#333333", linewidth=0.8)
        axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(len(languages) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{metric} x 100")
    axes.tick_params(axis="y", length=0)
    style.legend(made, axes, [system.label for system in systems], below)
    return made


def against_cost(title: str, metric: str, systems: Sequence[SystemScores], below: str) -> Figure:
    """A panel for each kind of cost by which systems differ."""
    kinds = costs_shown(systems)
    made = style.figure(3.4 * len(kinds) + 0.6, 4.4, f"{metric} against cost: {title}")
    panels = made.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for i, system in enumerate(systems):
            # One without this cost still stands in the legend.
            at = [system.costs[kind]] if kind in system.costs else []
            axes.plot(
                at,
                [system.score] * len(at),
                style.marker(i),
                color=style.colour(i),
                markersize=8,
                label=system.label,
            )
        axes.set_xscale("log")
        _plain_ticks(axes, [system.costs[kind] for system in systems if kind in system.costs])
        better = "more is better →" if COSTS[kind] else "← less is better"
        axes.set_xlabel(f"{kind}\n{better}")
    panels[0].set_ylabel(f"{metric} x 100")
    style.legend(made, panels[0], [system.label for system in systems], below)
    return made


def costs_shown(systems: Sequence[SystemScores]) -> list[str]:
    """The kinds of cost by which systems differ, or else those that any of them has.

    Where all have one value, as the speed of one encoder, their marks would only hide each other.
    """
    values = {kind: {system.costs.get(kind) for system in systems} - {None} for kind in COSTS}
    known = [kind for kind in COSTS if values[kind]]
    return [kind for kind in known if len(values[kind]) > 1] or known


def by_depth(title: str, systems: Sequence[SystemScores], below: str) -> Figure:
    """Recall by depth, a line for each system that has it."""
    shown = [(i, system) for i, system in enumerate(systems) if system.recall]
    made = style.figure(7, 4.6, f"Recall by depth: {title}")
    axes = made.add_subplot()
    for i, system in shown:
        axes.plot(
            list(system.recall),
            list(system.recall.values()),
            style.LINES[i % len(style.LINES)],
            marker=style.marker(i),
            color=style.colour(i),
            markersize=4.5,
            linewidth=1.4,
            label=system.label,
        )
    depths = sorted({depth for _, system in shown for depth in system.recall})
    axes.set_xscale("log")
    axes.set_xticks(depths, [f"{depth:,}" for depth in depths])
    axes.minorticks_off()
    axes.set_xlabel("documents (k)")
    axes.set_ylabel("R@k x 100")
    style.legend(made, axes, [system.label for _, system in shown], below)
    return made


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Ticks of 1, 2 and 5 times powers of ten about the values, in figures that people read."""
    low, high = min(values) / 1.6, max(values) * 1.6
    ticks = [
        step * 10.0**power
        for power in range(-9, 13)
        for step in (1, 2, 5)
        if low <= step * 10.0**power <= high
    ]
    if len(ticks) > 5:
        ticks = [tick for tick in ticks if f"{tick:e}".startswith("1")]
    axes.set_xlim(low, high)
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:,.10g}" if tick < 1e6 else f"{tick:.0e}" for tick in ticks])
