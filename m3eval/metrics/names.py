"""Canonical metric names, the same in configs, files and tables: nDCG@10, R@100, RR@10, AP."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from m3eval.errors import UserError
from m3eval.kinds import Rule

# Canonical measure -> name in trec_eval with and without a cutoff; None: it has no such form.
TREC_EVAL: dict[str, tuple[str | None, str | None]] = {
    "nDCG": ("ndcg_cut", "ndcg"),
    "R": ("recall", None),
    "P": ("P", None),
    "AP": ("map_cut", "map"),
    "RR": ("recip_rank", "recip_rank"),  # with a cutoff: on the list cut at it
    "Success": ("success", None),
}
# What others call them, in lower case.
ALIASES = {measure.lower(): measure for measure in TREC_EVAL} | {
    "ndcg_cut": "nDCG",
    "recall": "R",
    "precision": "P",
    "map": "AP",
    "map_cut": "AP",
    "mrr": "RR",
    "recip_rank": "RR",
}
METRICS = "nDCG@k, R@k, P@k, AP@k, RR@k, Success@k, nDCG, AP or RR"


class Metric(NamedTuple):
    """A measure and the rank at which lists are cut; its string parses back."""

    measure: str
    cutoff: int | None

    def __str__(self) -> str:
        return self.measure if self.cutoff is None else f"{self.measure}@{self.cutoff}"


def parse(name: str) -> Metric:
    """Reads a canonical name, or one that trec_eval, BEIR or MTEB have for the same: ndcg_at_10.

    Raises:
        UserError: there is no such metric; lists what there is.
    """
    match = re.fullmatch(r"([a-z_]+?)(?:(?:@|_at_|_|\.)([1-9]\d{0,8}))?", name.lower())
    measure, cutoff = (match[1], int(match[2]) if match[2] else None) if match else ("", None)
    measure = ALIASES.get(measure, "")
    if TREC_EVAL.get(measure, (None, None))[0 if cutoff else 1] is None:
        raise UserError(f"metric {name!r} is unknown: write {METRICS}.")
    return Metric(measure, cutoff)


def _canonical(name: str) -> str:
    try:
        return str(parse(name))
    except UserError as error:
        raise ValueError(METRICS) from error


MetricName = Annotated[str, Rule(METRICS, _canonical)]
