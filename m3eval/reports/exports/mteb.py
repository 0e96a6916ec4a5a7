"""MTEB's results: a file `results/MODEL/REVISION/TASK.json` for each system, as its cache has them.

Scores are in [0, 1]; `main_score` is the first metric of the result. `mteb_version` is null, for
mteb did not compute them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m3eval import __version__
from m3eval.benchmarks.languages import with_script
from m3eval.files import digest, write_json
from m3eval.reports.exports.source import Exported, ExportedSystem, metric_elsewhere


def write(source: Exported, out: Path, task: str | None) -> list[Path]:
    """Writes the files.

    Args:
        source: the result.
        out: the folder of a cache.
        task: what MTEB calls the benchmark; None: the name of its repository, or its own.

    Returns:
        the paths.
    """
    name = task or (source.repository or source.benchmark).rpartition("/")[2]
    written = []
    for system in source.systems:
        folder = out / "results" / system.label.replace("/", "__") / revision(source, system)
        path = folder / f"{name.replace('/', '__')}.json"
        write_json(path, task_result(source, system, name))
        written.append(path)
    return written


def task_result(source: Exported, system: ExportedSystem, task: str) -> dict[str, Any]:
    """A system's scores as mteb's `TaskResult` has them."""
    entries = []
    for language, scores in source.scores(system):
        named = {metric_elsewhere(metric): score for metric, score in scores.items()}
        entries.append(
            {
                **named,
                "main_score": next(iter(named.values())),
                "hf_subset": language,
                "languages": [with_script(language)],
            }
        )
    return {
        "dataset_revision": source.revision,
        "task_name": task,
        "mteb_version": None,
        "scores": {source.split: entries},
        "evaluation_time": None,
        "kg_co2_emissions": None,
        "date": None,
    }


def revision(source: Exported, system: ExportedSystem) -> str:
    """What stands for the revision of the model: the encoder's files and settings by a digest."""
    if system.elsewhere:
        return "made-elsewhere"
    encoder = source.result.content.provenance.encoder
    if encoder is None or not system.has_encoder:
        return f"m3eval-{__version__}"
    return digest(dict(encoder))[:12]
