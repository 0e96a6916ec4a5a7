"""Scores of runs that are known by their files alone: a table of runs by metrics, and its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from m3eval.console import console, say
from m3eval.files import whole_file, write_json
from m3eval.metrics.means import points
from m3eval.metrics.ranking import Scores
from m3eval.reports.runs import table_of
from m3eval.reports.table import UNIT


@dataclass(frozen=True)
class FileRead:
    """A file that scores rest on."""

    path: str
    sha256: str


@dataclass(frozen=True)
class JudgedRuns:
    """Everything that the tables of an evaluation of files state."""

    metrics: list[str]
    judged: int  # queries that the judgements have: each mean is over all of them
    per_query: Mapping[str, Scores]  # by run: metric -> qid -> score in [0, 1]
    runs: dict[str, FileRead]
    qrels: FileRead
    notes: list[str]  # what a reader must know, a sentence each
    made_with: dict[str, str]  # versions of libraries

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Means over all judged queries x 100: run -> metric -> score."""
        return {
            name: {metric: points(scores[metric]) or 0.0 for metric in self.metrics}
            for name, scores in self.per_query.items()
        }

    @property
    def caption(self) -> str:
        """What the table's heading says."""
        return f"x 100, means over {self.judged:,} judged queries of {Path(self.qrels.path).name}"


def show(judged: JudgedRuns) -> None:
    """Prints the table and what must be known of it."""
    shown = table_of(judged.caption, "run", *judged.metrics)
    for name, of_run in judged.scores.items():
        shown.add_row(name, *(f"{score:.1f}" for score in of_run.values()))
    console.print(shown)
    for note in judged.notes:
        say(note)


def write(judged: JudgedRuns, folder: Path) -> list[Path]:
    """Writes the table as Markdown, CSV and JSON, and the score of every query as CSV.

    Returns:
        the paths written.
    """
    texts = {
        "evaluation.md": _markdown(judged),
        "evaluation.csv": _csv(
            ["run", *judged.metrics],
            [
                [name, *(f"{score:.4f}" for score in of_run.values())]
                for name, of_run in judged.scores.items()
            ],
        ),
        "per_query.csv": _csv(
            ["run", "qid", *judged.metrics],
            [
                [name, qid, *(f"{scores[metric][qid]:.6g}" for metric in judged.metrics)]
                for name, scores in judged.per_query.items()
                for qid in scores[judged.metrics[0]]
            ],
        ),
    }
    for name, text in texts.items():
        with whole_file(folder / name) as part:
            part.write_text(text, encoding="utf-8", newline="")
    record = folder / "evaluation.json"
    write_json(
        record,
        {
            "unit": UNIT,
            "judged_queries": judged.judged,
            "scores": {
                name: {metric: round(score, 4) for metric, score in of_run.items()}
                for name, of_run in judged.scores.items()
            },
            "notes": judged.notes,
            "runs": {name: asdict(file) for name, file in judged.runs.items()},
            "qrels": asdict(judged.qrels),
            "evaluated_with": judged.made_with,
        },
    )
    return [*(folder / name for name in texts), record]


def _markdown(judged: JudgedRuns) -> str:
    lines = [f"### {judged.caption}", "", f"| run | {' | '.join(judged.metrics)} |"]
    lines.append("|---|" + "---:|" * len(judged.metrics))
    for name, of_run in judged.scores.items():
        lines.append(f"| {name} | {' | '.join(f'{score:.1f}' for score in of_run.values())} |")
    return "\n".join([*lines, "", *(f"{note}\n" for note in judged.notes)])


def _csv(header: list[str], rows: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()
