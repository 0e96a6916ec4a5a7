"""Pictures of results, as SVG and PNG.

    m3eval plot results     quality by language
    m3eval plot outputs     also, where runs lie beside their scores: cost, recall by depth,
                            hybrids by their weights, and two systems query by query

What needs judgements takes the configuration that stage 2 recorded in scores/scores.json; words
such as benchmark.root=/data replace what has moved since.
"""

from __future__ import annotations

from pathlib import Path

from m3eval import buckets
from m3eval.commands.drawn_scores import Resampling
from m3eval.commands.gathered import gather
from m3eval.commands.pictures import Drawing, pictures
from m3eval.config import Setup
from m3eval.console import say
from m3eval.reports.plots import style
from m3eval.reports.site.boards import boards


def run(setup: Setup) -> None:
    """Draws pictures of results.

    Raises:
        UserError: matplotlib is missing, there is nothing to show, a result is damaged, or what was
            asked for by name cannot be drawn of it.
    """
    style.require_matplotlib()
    cfg = setup.cfg
    wanted = Drawing(
        cfg.plots,
        cfg.systems,
        cfg.weights_step,
        Resampling(cfg.resamples, cfg.confidence, cfg.seed),
    )
    published, runs_of = gather([buckets.place(each) for each in cfg.results], [])
    for board in boards(published):
        out = Path(cfg.out) / board.slug
        for drawn in pictures(board, runs_of, wanted, setup.words):
            with style.drawing():
                written = style.write(drawn.draw(), out / drawn.name, cfg.formats)
            for path in written:
                say(f"  written  {path}")
