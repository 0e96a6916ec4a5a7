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
from pathlib import Path
from typing import Any

from m3eval import buckets
from m3eval.commands.drilldown import EncoderRuns, language_views, open_runs
from m3eval.commands.gathered import gather
from m3eval.commands.pictures import Drawing, pictures
from m3eval.commands.reasons import Explainer
from m3eval.commands.recorded import command
from m3eval.commands.surfaces import surfaces
from m3eval.config import Setup
from m3eval.config.schema import Plot
from m3eval.console import meter, say, size
from m3eval.errors import UserError
from m3eval.oserrors import writing
from m3eval.reports.plots import style
from m3eval.reports.site import pages
from m3eval.reports.site.boards import Board, boards, unused
from m3eval.reports.site.drilldown import LanguageWriter
from m3eval.seals import Damaged


def build(
    results: Sequence[Path],
    runs: Sequence[Path],
    out: Path,
    words: Sequence[str] = (),
    depth: int = 5,
    megabytes: float = 30,
    weights_step: float = 0.1,
    plots: Sequence[Plot] = (),
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
        plots: pictures of each benchmark, as far as its results allow; they need matplotlib.
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
                    readable = {name: runs_of[name] for name in folders}
                    add_pictures(site, part, board, readable, words, plots)
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


def add_pictures(
    site: pages.Site,
    part: Path,
    board: Board,
    runs_of: Mapping[str, Path],
    words: Sequence[str],
    plots: Sequence[Plot],
) -> None:
    """Draws pictures of a benchmark, as far as its results allow.

    Args:
        site: what is written.
        part: the site's folder.
        board: the benchmark.
        runs_of: runs that can be read here, by the names of their results.
        words: settings that replace recorded ones.
        plots: which pictures.
    """
    if not plots:
        return
    place = Path("pictures") / board.slug
    for drawn in pictures(board, runs_of, Drawing(plots, quiet=True), words):
        with style.drawing():
            (file,) = style.write(drawn.draw(), part / place / drawn.name, ["svg"])
        shown = pages.PlacedPicture((place / file.name).as_posix(), drawn.title)
        site.pictures.setdefault(board.slug, []).append(shown)


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


def drawable(plots: Sequence[Plot]) -> Sequence[Plot]:
    """The pictures that are asked for; none, which is said, where matplotlib is missing."""
    try:
        if plots:
            style.require_matplotlib()
    except UserError:
        say("without pictures: pip install 'm3eval[plot]', or pictures=[] if none are wanted")
        return ()
    return plots


def run(setup: Setup) -> None:
    """Makes the site.

    Raises:
        UserError: nothing to show, or the folder for it holds something else.
    """
    cfg = setup.cfg
    out = Path(cfg.out)
    first = build(
        [buckets.place(folder) for folder in cfg.results],
        [buckets.place(folder) for folder in cfg.runs],
        out,
        setup.words,
        cfg.depth,
        cfg.megabytes,
        cfg.weights_step,
        drawable(cfg.pictures),
        pages.About(cfg.title, cfg.description, cfg.url),
    )
    files = [path for path in out.rglob("*") if path.is_file()]
    total = size(sum(path.stat().st_size for path in files))
    say(f"  written  {first}  {len(files)} files, {total}")
