"""Landing points: what those who published a corpus, or counted it, say of its ends and its length.

A number of documents that agrees does not show that they are the published ones, in their order.
`landing.json` has, for each benchmark and language, the ids of the first and the last text and the
characters of all, with the source of each; what no source states is left out.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Landing:
    """What is known of a text set; None: no source states it."""

    first: str | None = None  # id
    last: str | None = None  # id
    characters: int | None = None  # of titles and texts
    titles: bool = True  # whether documents have any


UNKNOWN = Landing()


def landing(benchmark: str, texts: str, language: str) -> Landing:
    """What `landing.json` says.

    Args:
        benchmark: miracl, mldr, mkqa or narrativeqa.
        texts: documents, or what belongs to one split: documents-test, queries-dev.
        language: the name of the corpus, or the language of the queries.
    """
    return Landing(**_known().get(benchmark, {}).get(texts, {}).get(language, {}))


@functools.cache
def _known() -> dict[str, Any]:
    content = resources.files("m3eval.benchmarks").joinpath("landing.json").read_bytes()
    return json.loads(content)
