"""Tables: one of single queries for data frames, as parquet or CSV, and one of means for papers."""

from __future__ import annotations

from pathlib import Path

from m3eval.files import whole_file
from m3eval.reading import approximate_lines
from m3eval.reference.published import AVERAGE
from m3eval.reports import latex
from m3eval.reports.exports.source import Exported, per_query
from m3eval.reports.results import shown


def parquet(source: Exported, out: Path) -> Path:
    """Writes per_query.parquet: see `source.per_query`."""
    frame, path = per_query(source), out / "per_query.parquet"
    with whole_file(path) as part:
        frame.to_parquet(part, index=False)
    return path


def csv(source: Exported, out: Path) -> Path:
    """Writes per_query.csv: the same."""
    frame, path = per_query(source), out / "per_query.csv"
    with whole_file(path) as part:
        frame.to_csv(part, index=False, float_format="%.6g")
    return path


def tex(source: Exported, out: Path) -> Path:
    """Writes scores.tex: for each metric languages down and systems across, x 100."""
    content, path = source.result.content, out / "scores.tex"
    parts = [latex.PREAMBLE + "\n"]
    for metric, by_retriever in content.scores.items():
        rows = []
        for language in (*source.languages, AVERAGE):
            scores = [by_retriever.get(each.retriever, {}).get(language) for each in source.systems]
            if language != AVERAGE or len(source.languages) > 1:
                rows.append([latex.escape(language), *map(shown, scores)])
        header = ["language", *(system.label for system in source.systems)]
        caption = f"{metric} x 100, {content.title}, {content.encoder}"
        notes = [
            latex.escape(note) for note in (*content.notes, *approximate_lines(content.approximate))
        ]
        parts.append(latex.table(header, rows, caption, notes))
    with whole_file(path) as part:
        part.write_text("\n".join(parts), encoding="utf-8")
    return path
