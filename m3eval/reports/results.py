"""Results of stage 2 as they were written: `scores.json`, and the tables beside it."""

from __future__ import annotations

from pathlib import Path

from m3eval import seals
from m3eval.layout import ScoreFiles
from m3eval.manifests import Result
from m3eval.records import read

REMEDY = "Run `m3eval evaluate` again."
NONE = "–"  # in place of a score that there is not


def shown(score: float | None) -> str:
    """A score x 100 to one decimal."""
    return NONE if score is None else f"{score:.1f}"


def read_scores(path: Path) -> Result:
    """The result in a `scores.json`, wherever it lies, without the tables beside it.

    Raises:
        UserError: it is no result, or it was edited or damaged since. One of an earlier version is
            not sealed (`Result.sealed` is None), and is read as it is.
    """
    return read(path, Result, REMEDY)


def read_result(files: ScoreFiles) -> Result:
    """The same, where the tables beside it are as they were written, too."""
    result = read_scores(files.json)
    seals.check_all(files.folder, result.files, REMEDY)
    return result
