"""Is what lies at a path as it was written? Every file of stores, runs, results and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3eval.console import console, say
from m3eval.errors import Missing, UserError
from m3eval.layout import ComparisonFiles, RunFiles, ScoreFiles, StoreFiles
from m3eval.reports.results import left_out, read_result
from m3eval.reports.runs import table_of
from m3eval.reports.site.comparisons import read_comparison
from m3eval.retrievers import finished
from m3eval.stores.store import Store

State = Literal["whole", "in part", "damaged", "not sealed", "not finished"]


@dataclass(frozen=True)
class Checked:
    """A store, a run, a result or a comparison, and what became of it."""

    path: Path
    state: State
    why: str = ""  # it is not whole


def check(path: Path) -> None:
    """Reads every file at a path whole and shows what is as it was written.

    Args:
        path: a store, a run, a result, or the folder of all of them.

    Raises:
        UserError: nothing that m3eval made lies there, or some of it is damaged.
    """
    found = list(everything(path))
    if not found:
        raise UserError(f"{path} is no store, run or result of m3eval: there is nothing to check.")
    shown = table_of("as it was written?", "what", "state")
    for each in found:
        below = path in each.path.parents
        shown.add_row(str(each.path.relative_to(path)) if below else each.path.name, each.state)
    console.print(shown)
    for each in found:
        if each.state in ("in part", "not sealed", "not finished"):
            say(f"{each.state}: {each.why}")
    damaged = [each.why for each in found if each.state == "damaged"]
    if damaged:
        lines = "".join(f"\n  {why}" for why in damaged)
        raise UserError(f"{len(damaged)} of {len(found)} are damaged:{lines}")


def everything(path: Path) -> Iterator[Checked]:
    """The stores, runs, results and comparisons at or below a path, each checked."""
    store, scores = StoreFiles(path), ScoreFiles(path.parent if path.is_file() else path)
    if store.manifest.exists() or store.plan.exists():
        yield _found(path, lambda: _store(path))
    elif scores.json.exists() and path in (scores.json, scores.folder):
        yield _found(scores.json, lambda: _result(scores))
    else:
        yield from _runs(path)
        if ComparisonFiles(path).named("json").exists():
            yield _found(ComparisonFiles(path).named("json"), lambda: _comparison(path))
        if path.is_dir():
            for folder in sorted(path.iterdir()):
                if folder.is_dir() and not folder.name.startswith("."):  # half-made, or being made
                    yield from everything(folder)


def _found(path: Path, look: Callable[[], Checked]) -> Checked:
    """What is at a path; `look` raises a UserError where it is not as it was written."""
    try:
        return look()
    except Missing as error:
        return Checked(path, "not finished", str(error))
    except finished.Unsealed as error:
        return Checked(path, "not sealed", str(error))
    except UserError as error:
        return Checked(path, "damaged", str(error))


def _store(path: Path) -> Checked:
    store = Store(path)
    store.require(*store.plan.representations, fetch=True)
    return Checked(path, "whole") if store.is_sealed else _of_earlier_version(path)


def _result(files: ScoreFiles) -> Checked:
    result = read_result(files)
    if result.sealed is None:
        return _of_earlier_version(files.json)
    if absent := left_out(files, result):
        return Checked(files.json, "in part", f"{files.json} is without {', '.join(absent)}")
    return Checked(files.json, "whole")


def _comparison(folder: Path) -> Checked:
    found, path = read_comparison(folder), ComparisonFiles(folder).named("json")
    return Checked(path, "whole") if found and found.is_sealed else _of_earlier_version(path)


def _run(run: RunFiles) -> Checked:
    finished.check(run)  # which refuses a run that is not sealed
    return Checked(run.trec, "whole")


def _of_earlier_version(path: Path) -> Checked:
    why = f"{path}: an earlier version made it, so damage is not seen"
    return Checked(path, "not sealed", why)


def _runs(path: Path) -> Iterator[Checked]:
    """The run at a path, or those in a folder.

    Also those of which only the manifest is left, where it lies as stage 1 lays it: a JSON file
    elsewhere is anything.
    """
    if path.is_dir():
        suffixes = (".trec", ".json") if path.parent.name == "runs" else (".trec",)
        files = [file for file in path.glob("*.*") if not file.name.endswith(".cost.json")]
    else:
        suffixes, files = (".trec", ".json"), [path]
    runs = {file.with_suffix(".trec") for file in files if file.suffix in suffixes}
    for trec in sorted(runs):
        run = RunFiles(trec)
        if trec.exists() or run.manifest.exists():
            yield _found(trec, lambda run=run: _run(run))
