"""Scores of runs that are files, by judgements that are a file: no benchmark, store or encoder.

Several runs are tested against each other as `m3eval compare` does it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from omegaconf import DictConfig

from m3eval import __version__
from m3eval.benchmarks.qrels import read_qrels
from m3eval.commands.compare import compare_all, pairs_of
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import sha256
from m3eval.layout import ComparisonFiles
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import by_documents
from m3eval.records import plain
from m3eval.reports import judged, pairwise, pairwise_tables
from m3eval.reports.judged import FileRead, JudgedRuns
from m3eval.retrievers.foreign import load_run
from m3eval.retrievers.run import Run

EVERY = "all queries"  # stands where tables of benchmarks have languages


def run(setup: Setup) -> None:
    """Scores files of runs, tests their differences, and writes tables"""
    cfg = setup.cfg
    paths = [Path(path).expanduser() for path in cfg.run]
    qrels_path = Path(cfg.qrels).expanduser()
    names = names_of(paths)
    if cfg.baseline is not None and cfg.baseline not in names:
        raise UserError(f"baseline={cfg.baseline} is none of the runs {', '.join(names)}.")
    qrels = read_qrels(qrels_path)
    read = together([lambda path=path: load_run(path, cfg.subset, cfg.split) for path in paths])
    runs: dict[str, Run] = dict(zip(names, read, strict=True))
    notes = together([lambda name=name: list(remarks(name, runs[name], qrels)) for name in runs])
    metrics = [parse(name) for name in cfg.metrics]
    result = JudgedRuns(
        metrics=[str(metric) for metric in metrics],
        judged=len(qrels),
        per_query={name: by_documents(runs[name], qrels, metrics) for name in names},
        runs={name: _file(path) for name, path in zip(names, paths, strict=True)},
        qrels=_file(qrels_path),
        notes=[note for of_run in notes for note in of_run],
        made_with={
            "m3eval": __version__,
            "pytrec-eval-terrier": version("pytrec-eval-terrier"),
        },
    )
    tests = tested(result, cfg) if len(names) > 1 else None
    folder = Path(cfg.out).expanduser()
    comparison = ComparisonFiles(folder)
    written = judged.write(result, folder)
    judged.show(result)
    if tests:
        written += pairwise_tables.write(tests, comparison)
        pairwise_tables.show(tests)
    else:  # those of an earlier evaluation into this folder
        for path in comparison.all:
            path.unlink(missing_ok=True)
    for path in written:
        say(f"  written  {path}")


def names_of(paths: Sequence[Path]) -> list[str]:
    """What tables call the runs: their files' names, with as many folders as tell them apart.

    Raises:
        UserError: a file is given twice.
    """
    whole = [path.resolve() for path in paths]
    if len({*whole}) < len(whole):
        twice = next(path for path in whole if whole.count(path) > 1)
        raise UserError(f"run={twice} is given twice: give each file once.")
    of_each = [list(_candidates(path)) for path in whole]
    shared = Counter(name for names in of_each for name in {*names})
    return [next(name for name in names if shared[name] == 1) for names in of_each]


def _candidates(path: Path) -> Iterator[str]:
    """The names that a file's run may have, best first; the last is its own alone."""
    bare = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    for each in (bare.with_suffix(""), path):
        for depth in range(1, len(each.parts)):
            yield "/".join(each.parts[-depth:])


def remarks(name: str, found: Run, qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What a reader must know of how a run and the judgements go together, a sentence each.

    Raises:
        UserError: they have no query in common, or no document is judged relevant.
    """
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise UserError(
            "The judgements call no document relevant, so every score would be 0: a grade above 0 "
            "does."
        )
    common = [qid for qid in qrels if qid in found]
    lacking = [qid for qid in qrels if qid not in found]
    if not common:
        raise UserError(
            f"{name}: not one of {len(qrels):,} judged queries is in the run: an id in the "
            f"judgements is {lacking[0]!r}, one in the run {next(iter(found))!r}. They do not "
            "belong together, or their ids are written differently."
        )
    if lacking:
        yield (
            f"{name}: {len(lacking):,} of {len(qrels):,} judged queries are not in the run and "
            f"score 0, for example {lacking[0]}"
        )
    if others := [qid for qid in found if qid not in qrels]:
        yield (
            f"{name}: {len(others):,} of {len(found):,} queries of the run have no judgement and "
            f"count nowhere, for example {others[0]}"
        )
    if not any(qrels[qid].keys() & {*found[qid].docids} for qid in common):
        first = next(iter(found[common[0]].docids), "no document")
        yield (
            f"{name}: no document of the run is judged at all; are ids written alike? Query "
            f"{common[0]} has {first} first, judged is {next(iter(qrels[common[0]]))}"
        )


def tested(result: JudgedRuns, cfg: DictConfig) -> pairwise.PairedTests:
    """Paired tests between the runs."""
    names = list(result.per_query)
    per_query = {(name, EVERY): scores for name, scores in result.per_query.items()}
    pairs = list(pairs_of(names, cfg.baseline, cfg.all_pairs))
    metrics = [parse(name) for name in result.metrics]
    return pairwise.PairedTests(
        title=f"{result.judged:,} judged queries of {Path(result.qrels.path).name}",
        metrics=result.metrics,
        languages=[EVERY],
        systems=names,
        baseline=None if cfg.all_pairs else pairs[0][1],
        per_query=per_query,
        results=compare_all(per_query, pairs, [EVERY], metrics, cfg),
        settings={name: cfg[name] for name in pairwise.SETTINGS},
        whole_texts=[],
        notes=[],
        provenance={
            "runs": plain(result.runs),
            "qrels": plain(result.qrels),
            "compared_with": result.made_with,
        },
    )


def _file(path: Path) -> FileRead:
    return FileRead(str(path), sha256(path))
