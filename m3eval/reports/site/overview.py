"""The first page: systems over all benchmarks, their means and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from m3eval.reports.site.boards import Board, SystemRow

USUAL_LENGTH = 512  # tokens of a document in benchmarks of short texts, such as MIRACL


@dataclass(frozen=True)
class OverviewLine:
    """A system over all benchmarks."""

    first: SystemRow  # its first result, which names it
    apart: str  # tells it from another line of these names; else empty
    cells: dict[str, SystemRow]  # by the slug of a board
    mean: float | None  # over the benchmarks chosen at first; None: it lacks one of them
    rank: int | None  # by the mean

    @property
    def badges(self) -> list[str]:
        """Short facts that tell it from others: those that it has on every benchmark."""
        readings = list(dict.fromkeys(str(row.reading) for row in self.cells.values()))
        recalls = dict.fromkeys(row.approximate for row in self.cells.values())
        one = readings if len(readings) == 1 else []
        return [*one, *filter(None, (*recalls, self.apart))]


def groups(boards: Sequence[Board]) -> dict[str, list[Board]]:
    """Benchmarks by what they ask of a system; groups without one are left out."""
    by_kind: dict[str, list[Board]] = {
        "like MIRACL": [],
        "cross-lingual": [],
        "long documents": [],
        "own": [],
    }
    for board in boards:
        by_kind[kind(board)].append(board)
    return {name: of_kind for name, of_kind in by_kind.items() if of_kind}


def kind(board: Board) -> str:
    """What a benchmark asks: documents of another language, long ones, or the usual.

    What was read from somebody's folder, and is known by no published table, is their own.
    """
    sources = [result.benchmark["source"] for result in board.results]
    if any(_crosses(result.hashes) for result in board.results):
        return "cross-lingual"
    readings = [row.reading for row in board.rows]
    if any(reading.max_document_length > USUAL_LENGTH for reading in readings) or any(
        source.get("form") == "long_document" for source in sources
    ):
        return "long documents"
    from_folder = any(source["_target_"].endswith(".folder.Folder") for source in sources)
    return "own" if from_folder and not board.reference else "like MIRACL"


def _crosses(texts: Mapping[str, Any]) -> bool:
    """Whether queries ask a corpus that has not their own name."""
    corpora = {name.partition("-")[2] for name in texts if name.startswith("corpus-")}
    queries = {name.partition("-")[2] for name in texts if name.startswith("queries-")}
    return bool(corpora and queries - corpora)


def full_average(board: Board, row: SystemRow) -> float | None:
    """The average that may be held against those of most systems; None: it is over others."""
    metric = board.metrics[0]
    return row.average(metric)[0] if board.group(row, metric) == 0 else None


def chosen_at_first(boards: Sequence[Board], lines: Sequence[Mapping[str, SystemRow]]) -> list[str]:
    """The slugs of the benchmarks that means are over until a reader chooses.

    Those that most systems share, as many as leave the largest table without a gap.
    """

    def has(line: Mapping[str, SystemRow], board: Board) -> bool:
        return board.slug in line and full_average(board, line[board.slug]) is not None

    counts = {board.slug: sum(has(line, board) for line in lines) for board in boards}
    order = sorted(boards, key=lambda board: -counts[board.slug])
    filled = {
        n: n * sum(all(has(line, board) for board in order[:n]) for line in lines)
        for n in range(1, len(order) + 1)
    }
    n = max(filled, key=lambda n: (filled[n], n))
    first = {board.slug for board in order[:n]}
    return [board.slug for board in boards if board.slug in first]


def overview_lines(boards: Sequence[Board]) -> tuple[list[OverviewLine], list[str]]:
    """A line for each encoder and retriever, the best first, and the benchmarks chosen at first.

    Where a benchmark has two results of them, the second stands on a line of its own.
    """
    by_names: dict[tuple[str, str, str, int], dict[str, SystemRow]] = {}
    for board in boards:
        for row in board.rows:
            names = row.encoder, row.about, row.retriever
            n = 0  # the first line that has no result of this benchmark yet
            while board.slug in by_names.setdefault((*names, n), {}):
                n += 1
            by_names[*names, n][board.slug] = row
    chosen = chosen_at_first(boards, list(by_names.values()))
    means = {key: _mean(boards, chosen, cells) for key, cells in by_names.items()}
    known = [mean for mean in means.values() if mean is not None]
    shown = [(encoder, retriever) for encoder, _, retriever, _ in by_names]
    lines = []
    for (encoder, about, retriever, n), cells in by_names.items():
        first, mean = next(iter(cells.values())), means[encoder, about, retriever, n]
        twice = shown.count((encoder, retriever)) > 1
        rank = None if mean is None else 1 + sum(other > mean for other in known)
        lines.append(OverviewLine(first, first.result.name if twice else "", cells, mean, rank))
    lines.sort(key=lambda line: (line.rank is None, line.rank or 0))
    return lines, chosen


def _mean(
    boards: Sequence[Board], chosen: Sequence[str], cells: Mapping[str, SystemRow]
) -> float | None:
    values = [
        full_average(board, cells[board.slug]) if board.slug in cells else None
        for board in boards
        if board.slug in chosen
    ]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def overview(boards: Sequence[Board]) -> dict[str, Any]:
    """What the first page shows.

    Systems go down and benchmarks across; a cell is the average of the benchmark's first metric.
    """
    lines, chosen = overview_lines(boards)
    by_group = groups(boards)
    best = {
        board.slug: max(
            (
                value
                for line in lines
                if board.slug in line.cells
                and (value := full_average(board, line.cells[board.slug])) is not None
            ),
            default=None,
        )
        for board in boards
    }
    return {
        "lines": lines,
        "groups": by_group,
        "columns": [board for of_group in by_group.values() for board in of_group],
        "chosen": chosen,
        "languages_of_all": list(
            dict.fromkeys(name for board in boards for name in board.languages)
        ),
        "best": best,
        "retrievers": list(dict.fromkeys(line.first.retriever for line in lines)),
    }


def overview_data(boards: Sequence[Board]) -> dict[str, Any]:
    """Scores by language, in the order of the overview's lines, for the choice of a language."""
    metrics = {board.slug: board.metrics[0] for board in boards}
    lines, _ = overview_lines(boards)
    return {
        "rows": [
            {
                slug: {
                    language: score
                    for language in row.languages(metrics[slug])
                    if (score := row.score(metrics[slug], language)) is not None
                }
                for slug, row in line.cells.items()
            }
            for line in lines
        ]
    }
