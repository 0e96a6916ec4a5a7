"""The results below folders, and where the runs of each lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.layout import Layout
from m3eval.reports.site.results import SiteResult, read_results, scores_below


def gather(
    results: Sequence[Path], runs: Sequence[Path]
) -> tuple[list[SiteResult], dict[str, Path]]:
    """All results, and where the runs of a result lie, by the result's name.

    Runs belong to the result that was published of them. Other runs are a result of their own.

    Raises:
        UserError: a folder has no scores, or a result was edited or damaged.
    """
    for folder in results:
        if not folder.is_dir():
            raise UserError(
                f"results={folder} does not exist: name a folder with results below it, as in "
                "`m3eval site outputs`."
            )
    below = {path.resolve(): path for folder in results for path in scores_below(folder)}
    published = read_results(below.values())
    runs_of = {result.name: result.runs for result in published if result.runs}
    places = {path.resolve() for path in runs_of.values()}
    for folder in runs:
        path = Layout(folder).scores.json
        if not path.exists():
            raise UserError(
                f"{path} does not exist: run `m3eval evaluate`, or give outputs/BENCHMARK/ENCODER."
            )
        if folder.resolve() in places:
            continue
        (scored,) = read_results([path])
        result = next((each for each in published if each.holds(scored)), None)
        if result is None:
            names = {result.name for result in published}
            result = replace(scored, apart=" (runs)") if scored.name in names else scored
            published.append(result)
        runs_of[result.name] = folder
    if not published:
        raise UserError(
            "There is nothing to show: no scores.json of `m3eval evaluate` lies below "
            f"results=[{','.join(map(str, results))}], and there are no runs=."
        )
    if unsealed := [result.name for result in published if result.content.sealed is None]:
        say(f"not sealed, for earlier versions made them: {', '.join(unsealed)}")
    return published, runs_of
