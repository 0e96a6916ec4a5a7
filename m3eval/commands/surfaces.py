"""Hybrids by their weights: the score of each weighting, from runs."""

from __future__ import annotations

import numpy as np

from m3eval.commands import tune
from m3eval.commands.drilldown import EncoderRuns
from m3eval.reports.site.surface import Surface, surface


def surfaces(folder: EncoderRuns, result: str, step: float) -> list[Surface]:
    """Scores of the folder's hybrids by their weights, which sum to 1.

    A hybrid has two or three components. Its documents are weighed anew from their component
    scores, as `m3eval tune` does.

    Args:
        folder: an encoder's runs.
        result: the name of the result that they belong to.
        step: between weights.
    """
    setup = folder.setup
    of_hybrids = []
    for name, node in setup.cfg.retriever.items():
        if "weights" not in node or not 2 <= len(node.weights) <= 3:
            continue
        configured = {component: float(weight) for component, weight in node.weights.items()}
        grid = list(tune.combinations(list(configured), step, None))
        totals = np.zeros(len(grid) + 1)  # the last: with the configured weights
        for task in setup.tasks:
            documents = tune.candidates(setup, name, task)
            weightings = [*grid, configured]
            totals += tune.mean_scores(setup, task, documents, weightings, setup.metrics[0])
        *means, score = (totals / len(setup.tasks)).tolist()
        values = {tuple(weights.values()): mean for weights, mean in zip(grid, means, strict=True)}
        of_hybrids.append(
            surface(
                str(name),
                str(setup.metrics[0]),
                result,
                len(setup.tasks),
                values,
                configured,
                score,
            )
        )
    return of_hybrids
