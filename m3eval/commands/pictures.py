"""Which pictures can be drawn of a benchmark's results, and of what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m3eval.commands.drawn_scores import (
    Resampling,
    estimate,
    per_query,
    recall_by_depth,
    score_of,
)
from m3eval.commands.drilldown import open_runs
from m3eval.commands.surfaces import surfaces
from m3eval.config.schema import Plot
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.metrics import significance
from m3eval.reference.published import AVERAGE
from m3eval.reports.plots import details, quality, style
from m3eval.reports.plots.quality import SystemScores
from m3eval.reports.site.boards import Board, SystemRow
from m3eval.reports.site.costs import system_cost

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NotPossible(Exception):
    """The material lacks what a picture is made of; says what."""


@dataclass(frozen=True)
class Drawing:
    """Which pictures of which systems."""

    plots: Sequence[Plot] | None = None  # None: all that the results allow
    systems: Sequence[str] | None = None  # by their labels; None: the best
    weights_step: float = 0.1  # between the weights of a hybrid; 0: no picture of them
    resampling: Resampling = Resampling()  # noqa: RUF009 - it is frozen
    quiet: bool = False  # what cannot be drawn is left out without a word


class Picture(NamedTuple):
    """A picture, before it is written."""

    name: str  # of its files, without an ending
    title: str  # what it shows, in words
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Labelled:
    """A system by the name that systems= takes."""

    label: str  # RETRIEVER, or ENCODER/RETRIEVER where a board has several encoders
    row: SystemRow


def labelled(board: Board) -> list[Labelled]:
    """The systems of a board, the best first, each with a name of its own."""
    encoders = {row.result.encoder_name for row in board.rows if row.encoder != "no encoder"}

    def name(row: SystemRow) -> str:
        whole = len(encoders) < 2 or row.encoder == "no encoder"
        return row.retriever if whole else f"{row.result.encoder_name}/{row.retriever}"

    names = [name(row) for row in board.rows]
    return [
        Labelled(each if names.count(each) == 1 else f"{row.result.name}/{row.retriever}", row)
        for each, row in zip(names, board.rows, strict=True)
    ]


def chosen(board: Board, wanted: Drawing) -> list[Labelled]:
    """The systems that are shown: those asked for, in that order, or the best.

    Raises:
        UserError: one that is asked for is not there, or they are too many for a picture.
    """
    there, asked = {system.label: system for system in labelled(board)}, wanted.systems
    if not asked:
        if len(there) > style.MOST and not wanted.quiet:
            say(
                f"  {board.slug}: the best {style.MOST} of {len(there)} systems are shown; choose "
                "by systems="
            )
        return list(there.values())[: style.MOST]
    if unknown := [label for label in asked if label not in there]:
        raise UserError(
            f"systems: {board.slug} has no {', '.join(unknown)}: it has {', '.join(there)}."
        )
    if len(asked) > style.MOST:
        raise UserError(
            f"systems: {len(asked)} are too many for one picture, whose colours tell "
            f"{style.MOST} apart: give fewer."
        )
    return [there[label] for label in dict.fromkeys(asked)]


def pictures(
    board: Board, runs_of: Mapping[str, Path], wanted: Drawing, words: Sequence[str]
) -> Iterator[Picture]:
    """The pictures of one benchmark.

    Args:
        board: its systems.
        runs_of: the folders of runs by the result's name.
        wanted: which of them.
        words: settings that replace recorded ones.

    Raises:
        UserError: a picture that is asked for by name cannot be drawn.
    """
    systems = chosen(board, wanted)
    makers: dict[Plot, Callable[[], list[Picture]]] = {
        "languages": functools.partial(_languages, board, systems, wanted),
        "cost": functools.partial(_cost, board, systems, runs_of),
        "depth": functools.partial(_depth, board, systems, runs_of, words),
        "weights": functools.partial(_weights, board, systems, runs_of, wanted, words),
        "queries": functools.partial(_queries, board, systems, wanted),
    }
    for name in wanted.plots or makers:
        try:
            yield from makers[name]()
        except NotPossible as reason:
            if wanted.quiet:
                continue
            if wanted.plots:
                raise UserError(f"plots={name}: {board.slug}: {reason}") from reason
            say(f"  {board.slug}: no {name}: {reason}")


def _languages(board: Board, systems: Sequence[Labelled], wanted: Drawing) -> list[Picture]:
    metric, languages, resampling = board.metrics[0], board.languages, wanted.resampling
    columns = [AVERAGE, *languages] if len(languages) > 1 else languages
    shown, without = [], []
    for system in systems:
        scores = per_query(system.row.result, metric).get(system.row.retriever, {})
        if not scores:
            without.append(system.label)
        estimates = {
            column: estimate(score, column, scores, resampling)
            for column in columns
            if (score := system.row.score(metric, column)) is not None
        }
        shown.append(SystemScores(system.label, estimates, score_of(system.row, metric)))
    below = f"{resampling.confidence:.0%} bootstrap intervals over queries"
    if without:
        below = (
            "no intervals: results without scores of single queries"
            if len(without) == len(systems)
            else f"{below}; none of {', '.join(without)}: no scores of single queries"
        )
    draw = functools.partial(quality.by_language, board.title, metric, columns, shown, below)
    return [Picture("languages", f"{metric} by language", draw)]


def _cost(board: Board, systems: Sequence[Labelled], runs_of: Mapping[str, Path]) -> list[Picture]:
    metric = board.metrics[0]
    shown, machines, missing = [], {}, []
    for system in systems:
        cost = system_cost(system.row, runs_of.get(system.row.result.name))
        per_query = cost.seconds_per_query
        amounts = (
            cost.bytes_per_document,
            cost.tokens_per_second,
            None if per_query is None else 1000 * per_query,
        )
        costs = {kind: n for kind, n in zip(quality.COSTS, amounts, strict=True) if n}
        machines |= {cost.machine: None} if cost.machine else {}
        missing += [f"{system.label}: {remark}" for remark in cost.remarks]
        shown.append(SystemScores(system.label, {}, score_of(system.row, metric), costs))
    if not quality.costs_shown(shown):
        raise NotPossible("nothing was measured; give outputs/BENCHMARK/ENCODER")
    below = "; ".join([*machines, *missing])
    draw = functools.partial(quality.against_cost, board.title, metric, shown, below)
    return [Picture("cost", f"{metric} against cost", draw)]


def _depth(
    board: Board,
    systems: Sequence[Labelled],
    runs_of: Mapping[str, Path],
    words: Sequence[str],
) -> list[Picture]:
    shown = []
    for system in systems:
        recall: dict[int, float] = {}
        if folder := runs_of.get(system.row.result.name):
            recall = recall_by_depth(folder, system.row.retriever, words)
        score = score_of(system.row, board.metrics[0])
        shown.append(SystemScores(system.label, {}, score, recall=recall))
    if not any(system.recall for system in shown):
        raise NotPossible("it needs runs; give outputs/BENCHMARK/ENCODER")
    below = f"means over {len(board.languages)} languages" if len(board.languages) > 1 else ""
    draw = functools.partial(quality.by_depth, board.title, shown, below)
    return [Picture("depth", "Recall by depth", draw)]


def _weights(
    board: Board,
    systems: Sequence[Labelled],
    runs_of: Mapping[str, Path],
    wanted: Drawing,
    words: Sequence[str],
) -> list[Picture]:
    if not wanted.weights_step:
        raise NotPossible("weights_step=0 leaves them out")
    labels = {(system.row.result.name, system.row.retriever): system.label for system in systems}
    drawn = []
    for result in dict.fromkeys(name for name, _ in labels):
        if result not in runs_of:
            continue
        folder = open_runs(runs_of[result], list(words))
        for surface in surfaces(folder, result, wanted.weights_step):
            if label := labels.get((result, surface.name)):
                named = surface._replace(name=label)
                draw = functools.partial(details.by_weights, board.title, named)
                name = f"weights-{label.replace('/', '-')}"
                drawn.append(Picture(name, f"{label} by its weights", draw))
    if not drawn:
        raise NotPossible(
            "no system shown is a hybrid of two or three components with runs; give their folder "
            "and systems="
        )
    return drawn


def _queries(board: Board, systems: Sequence[Labelled], wanted: Drawing) -> list[Picture]:
    metric, resampling = board.metrics[0], wanted.resampling
    if len(systems) < 2:
        raise NotPossible("it needs two systems")
    (one, of_one), (other, of_other) = (
        (system.label, per_query(system.row.result, metric).get(system.row.retriever, {}))
        for system in systems[:2]
    )
    differences = {
        language: 100 * np.array([of_one[language][qid] - of_other[language][qid] for qid in qids])
        for language in board.languages
        if (qids := sorted(of_one.get(language, {}).keys() & of_other.get(language, {}).keys()))
    }
    if not differences:
        raise NotPossible(
            f"{one} and {other} have no scores of single queries in common; give "
            "outputs/BENCHMARK/ENCODER"
        )
    paired = significance.paired(
        [values / 100 for values in differences.values()],
        resamples=resampling.resamples,
        confidence=resampling.confidence,
        seed=resampling.seed,
    )
    below = (
        f"a bar is a query; mean {100 * paired.difference:+.1f}, {resampling.confidence:.0%} "
        f"interval {100 * paired.low:+.1f} to {100 * paired.high:+.1f}, p = {paired.p:.2g} "
        f"(permutation); {paired.queries:,} queries"
    )
    draw = functools.partial(details.by_query, board.title, metric, one, other, differences, below)
    return [Picture("queries", f"{one} and {other}, query by query", draw)]
