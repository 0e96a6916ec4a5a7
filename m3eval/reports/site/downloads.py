"""The scores of the pages as files for spreadsheets and programs: one row a score."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from m3eval.reports.site.boards import Board
from m3eval.reports.site.columns import AS_JSON


class Score(NamedTuple):
    """One score, with all that tells it from others."""

    benchmark: str
    metric: str
    system: str
    encoder: str
    retriever: str
    language: str  # or the average
    score: float | None  # x 100
    languages: int  # that it is a mean over; 1 of a single one
    judged_queries: int
    result: str  # the folder of its result
    m3eval: str  # versions that made its runs


def scores_of(board: Board) -> Iterator[Score]:
    """Every score of a benchmark, in the order of its page."""
    for metric in board.metrics:
        for row in board.rows:
            of_row = row.result.content.scores.get(metric, {}).get(row.retriever, {})
            judged = row.result.content.judged_queries
            for language, score in of_row.items():
                over = [language] if language in judged else row.languages(metric)
                yield Score(
                    board.slug,
                    metric,
                    row.label,
                    row.encoder,
                    row.retriever,
                    language,
                    score,
                    len(over),
                    sum(judged.get(name, 0) for name in over),
                    row.result.name,
                    " ".join(row.result.content.provenance.runs_made_with),
                )


def write_tables(boards: Sequence[Board], folder: Path) -> None:
    """Writes scores.csv and scores.json of all benchmarks, and those of each."""
    folder.mkdir(parents=True, exist_ok=True)
    by_board = {board.slug: list(scores_of(board)) for board in boards}
    _write(folder / "scores", [score for scores in by_board.values() for score in scores])
    for slug, scores in by_board.items():
        _write(folder / f"scores-{slug}", scores)


def _write(stem: Path, scores: Sequence[Score]) -> None:
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(Score._fields)
    writer.writerows(scores)
    rows = [score._asdict() for score in scores]
    text = json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    for suffix, content in ((".csv", table.getvalue()), (".json", text)):
        stem.with_name(stem.name + suffix).write_bytes(content.encode("utf-8", errors=AS_JSON))
