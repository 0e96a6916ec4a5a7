"""Means of scores: over all, or none at all.

A mean over what happens to have a value looks like a mean over everything, so it is never made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def points(scores: Mapping[str, float]) -> float | None:
    """The mean of single queries' scores, by qid, x 100; None: no judged query counts.

    That is so where questions without a document are left out, and the run found no document at
    all (`benchmark.mkqa_denominator=run`).
    """
    return 100 * float(np.mean([*scores.values()])) if scores else None


def over_all(values: Iterable[float | None]) -> float | None:
    """The mean of values, as of the languages' means; None: one of them is, or there is none."""
    given = list(values)
    known = [value for value in given if value is not None]
    return float(np.mean(known)) if known and len(known) == len(given) else None
