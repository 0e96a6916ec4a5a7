"""The scores that pictures are made of, read from results and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3eval.commands.drilldown import open_runs
from m3eval.layout import ScoreFiles
from m3eval.metrics import significance
from m3eval.metrics.means import points
from m3eval.metrics.names import parse
from m3eval.reference.published import AVERAGE
from m3eval.reports.plots.quality import Estimate
from m3eval.reports.results import read_per_query
from m3eval.reports.site.boards import SystemRow
from m3eval.reports.site.results import SiteResult
from m3eval.retrievers.finished import manifest_of, read_run
from m3eval.stages.evaluate import judge
from m3eval.stages.trust import of_configured_texts

DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
PerQuery = Mapping[str, Mapping[str, float]]  # language -> qid -> score in [0, 1]


@dataclass(frozen=True)
class Resampling:
    """How intervals and p values are made."""

    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0


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


def estimate(score: float, column: str, scores: PerQuery, how: Resampling) -> Estimate:
    """A score of a table with its interval, by bootstrap as `m3eval compare` makes them."""
    chosen = [*scores.values()] if column == AVERAGE else [scores.get(column, {})]
    arrays = [np.array([*values.values()]) for values in chosen if values]
    if not arrays:
        return Estimate(score)
    low, high = significance.interval(arrays, how.confidence, how.resamples, how.seed)
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
