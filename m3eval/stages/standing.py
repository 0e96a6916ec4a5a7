"""What stage 2 scores: the runs that are asked for, and those that the tables have already.

A narrower stage 2 (fewer retrievers, languages or metrics) takes nothing away: what stands in
`scores.json` is scored again with the rest, from its runs and by the same rules. A cell whose run
is no longer what the table says is left out, and that is said. overwrite=true leaves out all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import open_dict

from m3eval.comparable import differences
from m3eval.config import Setup, tree
from m3eval.errors import UserError
from m3eval.manifests import Result, RunManifest
from m3eval.reference.published import AVERAGE
from m3eval.reports.results import read_scores
from m3eval.stages.identity import source_settings
from m3eval.stages.texts import ReadTexts
from m3eval.stages.trust import Cell, trusted_manifests

# Settings of a benchmark that decide no score: where files lie, and what is shown.
NO_RULES = ("metrics", "root", "label", "reference")


@dataclass(frozen=True)
class Scope:
    """What is scored."""

    setup: Setup  # with the retrievers, languages and metrics of every cell
    manifests: dict[Cell, RunManifest]  # of every cell, in the order of the tables
    kept: list[Cell]  # not asked for, and in the tables already
    left_out: list[str]  # what stood there and stays no longer, and why


def scope(setup: Setup) -> Scope:
    """What is asked for, and what stands in the tables besides.

    Raises:
        UserError: a run that is asked for is missing, or is not what is configured now.
    """
    asked = [(str(name), language) for name in setup.cfg.retriever for language in setup.languages]
    path = setup.layout.scores.json
    if setup.cfg.overwrite or not path.exists():
        return Scope(setup, trusted_manifests(setup, asked), [], [])
    try:
        result = read_scores(path)
        besides = [cell for cell in _cells(result) if cell not in asked]
        if besides or not {*result.scores} <= {*map(str, setup.metrics)}:
            _require_same_rules(setup, result)
    except UserError as error:
        return Scope(setup, trusted_manifests(setup, asked), [], [str(error)])
    besides, left_out = _openable(setup, result, besides)
    wide = _widened(setup, result, _in_order(result, [*asked, *besides], asked))
    manifests = trusted_manifests(wide, asked)
    for cell in besides:
        try:
            kept = trusted_manifests(wide, [cell])
            _require_alike(kept[cell], manifests.values())
            manifests |= kept
        except UserError as error:
            left_out.append(f"{', '.join(cell)}: {error}")
    ordered = {cell: manifests[cell] for cell in _in_order(result, manifests, asked)}
    final = _widened(setup, result, list(ordered)) if left_out else wide
    return Scope(final, ordered, [cell for cell in ordered if cell not in asked], left_out)


def _openable(setup: Setup, result: Result, cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """The cells whose retriever is known here and whose language has texts; why others do not."""
    problems: dict[str, str] = {}  # by retriever or language
    for language in dict.fromkeys(language for _, language in cells):
        if language not in setup.languages:
            try:
                setup.benchmark.task(language)
            except UserError as error:
                problems[language] = str(error)
    for name in dict.fromkeys(name for name, _ in cells):
        if name not in setup.cfg.retriever:
            try:
                setup.recorded_retriever(result.provenance.config["retriever"][name]["_target_"])
            except UserError as error:
                problems[name] = str(error)
    left_out = [f"{name}: {problem}" for name, problem in problems.items()]
    return [cell for cell in cells if problems.keys().isdisjoint(cell)], left_out


def _require_same_rules(setup: Setup, result: Result) -> None:
    """Raises UserError where nothing tells that a result was made by today's rules."""
    path = setup.layout.scores.json
    if result.sealed is None:
        raise UserError(
            f"{path} is not sealed, for an earlier version made it: what stands in it besides is "
            "left out. Name all that the tables are to have."
        )
    differing = differences(
        _rules(result.provenance.config["benchmark"]), _rules(tree.plain(setup.cfg)["benchmark"])
    )
    if differing:
        why = "; ".join(str(each.said(("there", "now"))) for each in differing)
        raise UserError(f"what stands in {path} besides was scored by other rules: {why}")


def _rules(benchmark: dict[str, Any]) -> dict[str, Any]:
    rules = {key: value for key, value in benchmark.items() if key not in NO_RULES}
    return rules | {"source": source_settings(benchmark["source"])}


def _require_alike(manifest: RunManifest, others: Iterable[RunManifest]) -> None:
    """Raises UserError where a run rests on another encoder or store than others of its table."""
    for other in others:
        if manifest.encoder and other.encoder and differences(manifest.encoder, other.encoder):
            raise UserError("another encoder made its run")
        for name in manifest.stores.keys() & other.stores.keys():
            if manifest.stores[name] != other.stores[name]:
                raise UserError(f"its run was made from another store {name}")


def _widened(setup: Setup, result: Result, cells: Sequence[Cell]) -> Setup:
    """The configuration that asks for these cells, and for the metrics of a result, too."""
    names, languages = (list(dict.fromkeys(cell[i] for cell in cells)) for i in (0, 1))
    cfg, recorded = setup.cfg.copy(), result.provenance.config["retriever"]
    with open_dict(cfg):
        cfg.retriever = {
            name: setup.cfg.retriever[name] if name in setup.cfg.retriever else recorded[name]
            for name in names
        }
        if cfg.languages is not None:
            cfg.languages = languages
        cfg.benchmark.metrics = _joined(result.scores, map(str, setup.metrics))
    wide = Setup(cfg, setup.words)
    wide.once(ReadTexts).readings |= setup.once(ReadTexts).readings  # nothing is read twice
    return wide


def _cells(result: Result) -> list[Cell]:
    """The retrievers and languages that have a score, of whatever metric."""
    cells = (
        (name, language)
        for by_retriever in result.scores.values()
        for name, by_language in by_retriever.items()
        for language, score in by_language.items()
        if language != AVERAGE and score is not None
    )
    return list(dict.fromkeys(cells))


def _in_order(result: Result, cells: Collection[Cell], asked: Sequence[Cell]) -> list[Cell]:
    """Cells by retriever, then by language, each as in the tables or as asked: see `_joined`."""
    names, languages = (
        _joined((cell[i] for cell in _cells(result)), (cell[i] for cell in asked)) for i in (0, 1)
    )
    return [
        (name, language) for name in names for language in languages if (name, language) in cells
    ]


def _joined(standing: Iterable[str], asked: Iterable[str]) -> list[str]:
    """Names of both: in the order of the tables, or as asked where nothing stands besides."""
    there, then = list(dict.fromkeys(standing)), list(dict.fromkeys(asked))
    return then if {*there} <= {*then} else list(dict.fromkeys([*there, *then]))
