"""A leaderboard to publish: static pages made from results, and from runs a look into queries.

    m3eval site                            everything below outputs/ -> site/index.html
    m3eval site outputs/demo board/rows    everything below these folders

Of results that have their runs beside them it shows also costs, weights and single queries. Neither
making the site nor reading it needs a server or a network. What needs judgements takes the
configuration that stage 2 recorded in scores/scores.json; words such as benchmark.root=/data
replace what has moved since.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from m3eval.commands import tune
from m3eval.commands.drilldown import EncoderRuns, language_views, open_runs
from m3eval.commands.reasons import Explainer
from m3eval.commands.recorded import command
from m3eval.config import Setup
from m3eval.console import meter, say, size
from m3eval.errors import UserError
from m3eval.layout import Layout
from m3eval.oserrors import writing
from m3eval.reports.site import pages
from m3eval.reports.site.boards import Board, boards, unused
from m3eval.reports.site.drilldown import LanguageWriter
from m3eval.reports.site.results import SiteResult, read_results, scores_below
from m3eval.reports.site.surface import Surface, surface
from m3eval.seals import Damaged


def build(
    results: Sequence[Path],
    runs: Sequence[Path],
    out: Path,
    words: Sequence[str] = (),
    depth: int = 5,
    megabytes: float = 30,
    weights_step: float = 0.1,
    about: pages.About = pages.About(),  # noqa: B008 - it is frozen
) -> Path:
    """Makes the site; returns its first page.

    Args:
        results: folders; every scores.json at or below them is shown, with its runs if they lie
            beside it and can be read here.
        runs: folders outputs/{benchmark}/{encoder} that stage 2 scored; their runs must be
            readable.
        out: the site's folder. An older site in it is replaced, anything else is not.
        words: settings that replace those recorded with the runs.
        depth: documents of each list that are shown.
        megabytes: that the single queries of a benchmark may take.
        weights_step: between the weights of a hybrid in its table; 0: no such tables.
        about: what the pages say of themselves.

    Raises:
        UserError: there is nothing to show, `out` holds something else, or a file was edited or
            damaged since it was written.
    """
    if out.exists() and any(out.iterdir()) and not (out / "assets" / "site.js").exists():
        raise UserError(
            f"out={out} is a folder with something else in it: give another, or remove it."
        )
    published, runs_of = gather(results, runs)
    commands = {result.name: command(result.content.provenance) for result in published}
    site = pages.Site(boards(published), commands, runs_of, about)
    asked = {folder.resolve() for folder in runs}
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for board in site.boards:
            try:
                folders = opened(board, runs_of, words, asked)
                limit = int(megabytes * 1e6)
                with writing(out, part):
                    add_queries(site, part, board, folders, depth, limit, weights_step)
            except UserError as error:
                if isinstance(error, Damaged) or asked & {
                    runs_of[result.name].resolve()
                    for result in board.results
                    if result.name in runs_of
                }:
                    raise
                say(f"{board.title} is shown without its single queries and weights: {error}")
                site.leave_out(board.slug)
                shutil.rmtree(part / "data" / board.slug, ignore_errors=True)
        with writing(out, part):
            pages.write(site, part)
            shutil.rmtree(out, ignore_errors=True)
            part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out / "index.html"


def opened(
    board: Board, runs_of: Mapping[str, Path], words: Sequence[str], asked: Collection[Path]
) -> dict[str, EncoderRuns]:
    """The runs of a benchmark by the names of their results.

    Args:
        board: the benchmark.
        runs_of: where the runs of results lie.
        words: settings that replace recorded ones.
        asked: folders, resolved, that somebody named; of others it is said if they are left out.

    Raises:
        UserError: runs that were named cannot be used here.
    """
    folders = {}
    for result in board.results:
        path = runs_of.get(result.name)
        if path is None:
            continue
        try:
            folder = open_runs(path, list(words))
            folder.setup.tasks  # noqa: B018 - whether the texts are here
            folders[result.name] = folder
        except UserError as error:
            if isinstance(error, Damaged) or path.resolve() in asked:
                raise
            say(f"{path} is shown without its single queries: {error}")
    return folders


def add_queries(
    site: pages.Site,
    part: Path,
    board: Board,
    folders: Mapping[str, EncoderRuns],
    depth: int,
    limit: int,
    weights_step: float,
) -> None:
    """Adds the single queries of a benchmark, and the weights of its hybrids, if it has runs.

    Args:
        site: what is written.
        part: the site's folder.
        board: the benchmark.
        folders: runs by the names of their results.
        depth: documents of each list that are shown.
        limit: bytes that the single queries may take.
        weights_step: between weights; 0: none are shown.
    """
    if not folders:
        return
    if weights_step:
        site.surfaces[board.slug] = [
            of_hybrid
            for name, folder in folders.items()
            for of_hybrid in surfaces(folder, name, weights_step)
        ]
    write_drilldown(part / "data", board.slug, list(folders.values()), depth, limit)
    site.drilldowns.add(board.slug)


def write_drilldown(
    data: Path, slug: str, folders: list[EncoderRuns], depth: int, limit: int
) -> None:
    """Writes the single queries of one benchmark.

    Args:
        data: the folder of the site's data.
        slug: the benchmark's name on the site.
        folders: the encoders' runs.
        depth: documents of each list that are shown.
        limit: bytes in all. A language has the share that its judged queries have among all.
    """
    judged = {task.language: len(task.judged) for task in folders[0].setup.tasks}
    entries: list[dict[str, Any]] = []
    names: set[str] = set()  # of files: two languages may differ in letters that a file has not
    with meter(f"queries of {slug}", len(judged), "languages") as progress:
        for view in language_views(folders, depth):
            language = view.task.language
            explainers = {
                folder.name: Explainer(folder, view.task)
                for folder in folders
                if language in folder.setup.languages and folder.has_stores(view.task)
            }
            share = limit * judged[language] // sum(judged.values())
            name = unused(language, names)
            names.add(name)
            writer = LanguageWriter(data / slug, name, view, explainers, share)
            entries.append(writer.write())
            progress.advance(1, 1)
    pages.put(data / f"drilldown-{slug}.js", "drilldown", entries)


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


def run(setup: Setup) -> None:
    """Makes the site.

    Raises:
        UserError: nothing to show, or the folder for it holds something else.
    """
    cfg = setup.cfg
    out = Path(cfg.out)
    first = build(
        [Path(folder) for folder in cfg.results],
        [Path(folder) for folder in cfg.runs],
        out,
        setup.words,
        cfg.depth,
        cfg.megabytes,
        cfg.weights_step,
        pages.About(cfg.title, cfg.description, cfg.url),
    )
    files = [path for path in out.rglob("*") if path.is_file()]
    total = size(sum(path.stat().st_size for path in files))
    say(f"  written  {first}  {len(files)} files, {total}")
