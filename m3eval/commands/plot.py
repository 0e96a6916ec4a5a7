"""Pictures of results, as SVG and PNG.

    m3eval plot results     quality by language
    m3eval plot outputs     also, where runs lie beside their scores: cost, recall by depth,
                            hybrids by their weights, and two systems query by query

What needs judgements takes the configuration that stage 2 recorded in scores/scores.json; words
such as benchmark.root=/data replace what has moved since.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from omegaconf import DictConfig

from m3eval.commands import site
from m3eval.commands.drilldown import open_runs
from m3eval.config import Setup
from m3eval.config.schema import Plot
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.layout import ScoreFiles
from m3eval.metrics import significance
from m3eval.metrics.means import points
from m3eval.metrics.names import parse
from m3eval.reference.published import AVERAGE
from m3eval.reports.plots import details, quality, style
from m3eval.reports.plots.quality import Estimate, SystemScores
from m3eval.reports.results import read_per_query
from m3eval.reports.site.boards import Board, SystemRow, boards
from m3eval.reports.site.costs import system_cost
from m3eval.reports.site.results import SiteResult
from m3eval.retrievers.finished import manifest_of, read_run
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import of_configured_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
PerQuery = Mapping[str, Mapping[str, float]]  # language -> qid -> score in [0, 1]


class NotPossible(Exception):
    """The material lacks what a picture is made of; says what."""


class Picture(NamedTuple):
    """A picture, before it is written."""

    name: str  # of its files, without an ending
    draw: Callable[[], Figure]


def run(setup: Setup) -> None:
    """Draws pictures of results.

    Raises:
        UserError: matplotlib is missing, there is nothing to show, a result is damaged, or what was
            asked for by name cannot be drawn of it.
    """
    style.require_matplotlib()
    cfg = setup.cfg
    published, runs_of = site.gather([Path(each) for each in cfg.results], [])
    for board in boards(published):
        out = Path(cfg.out) / board.slug
        for drawn in pictures(board, runs_of, cfg, setup.words):
            with style.drawing():
                written = style.write(drawn.draw(), out / drawn.name, cfg.formats)
            for path in written:
                say(f"  written  {path}")


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


def chosen(board: Board, asked: Sequence[str] | None) -> list[Labelled]:
    """The systems that are shown: those asked for, in that order, or the best.

    Raises:
        UserError: one that is asked for is not there, or they are too many for a picture.
    """
    there = {system.label: system for system in labelled(board)}
    if not asked:
        if len(there) > style.MOST:
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
    board: Board, runs_of: Mapping[str, Path], cfg: DictConfig, words: Sequence[str]
) -> Iterator[Picture]:
    """The pictures of one benchmark.

    Args:
        board: its systems.
        runs_of: the folders of runs by the result's name.
        cfg: what is asked for.
        words: settings that replace recorded ones.

    Raises:
        UserError: a picture that is asked for by name cannot be drawn.
    """
    systems = chosen(board, cfg.systems)
    makers: dict[Plot, Callable[[], list[Picture]]] = {
        "languages": functools.partial(_languages, board, systems, cfg),
        "cost": functools.partial(_cost, board, systems, runs_of),
        "depth": functools.partial(_depth, board, systems, runs_of, words),
        "weights": functools.partial(_weights, board, systems, runs_of, cfg, words),
        "queries": functools.partial(_queries, board, systems, cfg),
    }
    for name in cfg.plots or makers:
        try:
            yield from makers[name]()
        except NotPossible as reason:
            if cfg.plots:
                raise UserError(f"plots={name}: {board.slug}: {reason}") from reason
            say(f"  {board.slug}: no {name}: {reason}")


def _languages(board: Board, systems: Sequence[Labelled], cfg: DictConfig) -> list[Picture]:
    metric, languages = board.metrics[0], board.languages
    columns = [AVERAGE, *languages] if len(languages) > 1 else languages
    shown, without = [], []
    for system in systems:
        scores = per_query(system.row.result, metric).get(system.row.retriever, {})
        if not scores:
            without.append(system.label)
        estimates = {
            column: estimate(score, column, scores, cfg)
            for column in columns
            if (score := system.row.score(metric, column)) is not None
        }
        shown.append(SystemScores(system.label, estimates, score_of(system.row, metric)))
    below = f"{cfg.confidence:.0%} bootstrap intervals over queries"
    if without:
        below = (
            "no intervals: results without scores of single queries"
            if len(without) == len(systems)
            else f"{below}; none of {', '.join(without)}: no scores of single queries"
        )
    draw = functools.partial(quality.by_language, board.title, metric, columns, shown, below)
    return [Picture("languages", draw)]


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
    return [
        Picture("cost", functools.partial(quality.against_cost, board.title, metric, shown, below))
    ]


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
    return [Picture("depth", functools.partial(quality.by_depth, board.title, shown, below))]


def _weights(
    board: Board,
    systems: Sequence[Labelled],
    runs_of: Mapping[str, Path],
    cfg: DictConfig,
    words: Sequence[str],
) -> list[Picture]:
    if not cfg.weights_step:
        raise NotPossible("weights_step=0 leaves them out")
    wanted = {(system.row.result.name, system.row.retriever): system.label for system in systems}
    drawn = []
    for result in dict.fromkeys(name for name, _ in wanted):
        if result not in runs_of:
            continue
        folder = open_runs(runs_of[result], list(words))
        for surface in site.surfaces(folder, result, cfg.weights_step):
            if label := wanted.get((result, surface.name)):
                named = surface._replace(name=label)
                draw = functools.partial(details.by_weights, board.title, named)
                drawn.append(Picture(f"weights-{label.replace('/', '-')}", draw))
    if not drawn:
        raise NotPossible(
            "no system shown is a hybrid of two or three components with runs; give their folder "
            "and systems="
        )
    return drawn


def _queries(board: Board, systems: Sequence[Labelled], cfg: DictConfig) -> list[Picture]:
    metric = board.metrics[0]
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
        resamples=cfg.resamples,
        confidence=cfg.confidence,
        seed=cfg.seed,
    )
    below = (
        f"a bar is a query; mean {100 * paired.difference:+.1f}, {cfg.confidence:.0%} interval "
        f"{100 * paired.low:+.1f} to {100 * paired.high:+.1f}, p = {paired.p:.2g} (permutation); "
        f"{paired.queries:,} queries"
    )
    draw = functools.partial(details.by_query, board.title, metric, one, other, differences, below)
    return [Picture("queries", draw)]


def per_query(result: SiteResult, metric: str) -> dict[str, dict[str, dict[str, float]]]:
    """Retriever -> language -> qid -> score in [0, 1]; empty where no such file was kept.

    Raises:
        UserError: the file was edited or damaged since stage 2 wrote it.
    """
    frame = read_per_query(ScoreFiles(result.folder), result.content)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    if frame is not None and metric in frame:
        rows = frame.dropna(subset=[metric])
        for retriever, language, qid, score in zip(
            rows["retriever"], rows["language"], rows["qid"], rows[metric], strict=True
        ):
            scores.setdefault(retriever, {}).setdefault(language, {})[qid] = score
    return scores


def score_of(row: SystemRow, metric: str) -> float:
    """A system's score x 100 over its languages; those without any stand at 0."""
    return row.average(metric)[0] or 0.0


def estimate(score: float, column: str, scores: PerQuery, cfg: DictConfig) -> Estimate:
    """A score of a table with its interval, by bootstrap as `m3eval compare` makes them."""
    chosen = [*scores.values()] if column == AVERAGE else [scores.get(column, {})]
    arrays = [np.array([*values.values()]) for values in chosen if values]
    if not arrays:
        return Estimate(score)
    low, high = significance.interval(arrays, cfg.confidence, cfg.resamples, cfg.seed)
    known = np.isfinite([low, high]).all()
    return Estimate(score, 100 * low, 100 * high) if known else Estimate(score)


def recall_by_depth(folder: Path, retriever: str, words: Sequence[str]) -> dict[int, float]:
    """Depth -> R@depth x 100, the mean of a system's languages, as deep as its runs go.

    Raises:
        UserError: the configuration cannot be used here, or a run is of other texts.
    """
    setup = open_runs(folder, list(words)).setup
    means: list[dict[int, float]] = []
    for task in setup.tasks:
        files = setup.layout.run(retriever, task.language)
        manifest = manifest_of(files)
        of_configured_texts(setup, task, manifest).require(
            f"The run {files.trec} is of other texts than configured"
        )
        depths = [depth for depth in DEPTHS if depth <= manifest.settings.depth]
        found = read_run(files, [query.qid for query in task.queries])
        metrics = [parse(f"R@{depth}") for depth in depths]
        scores = judge(setup, task, [(retriever, found)], metrics)[retriever]
        of_language = {depth: points(scores[f"R@{depth}"]) for depth in depths}
        means.append({depth: mean for depth, mean in of_language.items() if mean is not None})
    shared = set.intersection(*map(set, means))
    return {depth: float(np.mean([of[depth] for of in means])) for depth in sorted(shared)}
