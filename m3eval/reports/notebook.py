"""Tables as HTML, for notebooks: the same cells and lines as on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from m3eval.reports.pairwise import PairedTests
from m3eval.reports.table import ScoreTable


def of_scores(table: ScoreTable, metric: str) -> str:
    """A metric's table: languages down, retrievers across, published numbers beside ours."""
    cells = table.cells(metric)
    rows = [
        [str(language), str(table.judged.get(str(language), "")), *row]
        for language, row in cells.iterrows()
    ]
    rows += [[name, "", *row] for name, row in table.below(metric).items()]
    header = ["language", "queries", *cells.columns]
    return _table(table.caption(metric), header, rows) + lines(table.legend(metric))


def of_tests(tests: PairedTests, metric: str) -> str:
    """A metric's scores with marks, and every test of its first column in full."""
    rows = [
        [
            tests.name(system),
            *(f"{score:.1f} {tests.mark(metric, system, name)}" for name, score in of.items()),
        ]
        for system, of in tests.scores(metric).items()
    ]
    scores = _table(f"{metric} x 100 · {tests.title}", ["system", *tests.columns], rows)
    details = _table(f"{metric}: differences x 100", *tests.details(metric, tests.columns[:1]))
    return scores + lines(tests.legend(metric)) + details


def lines(said: Iterable[str]) -> str:
    """Sentences, one below the other."""
    return "".join(f"<p>{escape(line)}</p>" for line in said)


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is a heading."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
