"""The table of docs/speed.md, made of the figures in results/bench."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.measure import ROOT

DOCUMENT = ROOT / "docs" / "speed.md"
# The table lies between these lines of the document.
FIRST, LAST = "<!-- made by python -m bench.all -->", "<!-- end of what bench.all makes -->"
FLAG, SBERT = "FlagEmbedding at its best batch size", "sentence-transformers at its best"


class Row(NamedTuple):
    """One line for each kind of processor on which it was measured."""

    bench: str  # whose figures
    work: str  # with figures in it, as str.format names them
    than: str
    fp32: tuple[str | int, ...]  # where the ratio lies
    bf16: tuple[str | int, ...] = ()  # empty: there is none
    inverse: bool = False  # the ratio says how many times as long m3eval takes
    int8: tuple[str | int, ...] = ()


def _encode(part: str, work: str, than: str, ratio: str, ratio_bf16: str) -> Row:
    return Row("encode", work, than, (part, "ratios", ratio), (part, "ratios", ratio_bf16))


def _full_size(part: str, work: str) -> Row:
    ratio = "FlagEmbedding fp32 best / ours "
    fp32, bf16, int8 = ((part, "ratios", ratio + name) for name in ("fp32", "bf16", "int8"))
    work = f"BGE-M3's own shape, 24 layers x 1024: {work}"
    return Row("full_size", work, FLAG, fp32, bf16, int8=int8)


def _rerank(part: str) -> Row:
    sizes = f"{{{part}[queries]}} x {{{part}[candidates]}} candidates"
    work = f"rerank {sizes}, {{{part}[distinct_documents]:,}} distinct"
    ratio = "compute_score / ours "
    places = (part, "ratios", f"{ratio}fp32"), (part, "ratios", f"{ratio}bf16")
    return Row("rerank", work, "FlagEmbedding's compute_score at its best batch size", *places)


def _sparse(case: int, work: str, than: str, ratio: str) -> Row:
    place = "measured", case, "times_faster", ratio
    return Row("sparse", f"{work} {{measured[{case}][documents]:,}} documents", than, place)


def _maxsim(case: int, peer: str) -> Row:
    here = f"cases[{case}]"
    work = f"MaxSim, d {{{here}[dimensions]}}, {{{here}[queries_per_document]:.2g}} queries a"
    place = "cases", case, "times_as_long_as_ours", peer
    than = {"FlagEmbedding": "FlagEmbedding's maths", "numpy": "numpy, a product for each pair"}
    return Row("maxsim", f"{work} document, one thread, CPU seconds", than[peer], place)


def _dense(case: int) -> Row:
    here = f"cases[{case}]"
    work = f"exact dense search, {{{here}[documents]:,}} x {{{here}[dimensions]}}, one thread"
    place = "cases", case, "times_as_long_as_torch", "ours"
    return Row("dense", f"{work}, CPU seconds", "torch.mm and topk in RAM", place, (), True)


ROWS = (
    _full_size("documents", "{documents[texts]} documents of 128 to 512 tokens"),
    _full_size("long", "{long[texts]} of 8,192 tokens"),
    Row(
        "int8",
        "multilingual-e5-small, 12 layers x 384: {texts:,} documents of the demo, one thread, CPU "
        "seconds",
        "m3eval in bf16",
        (),
        int8=("ratios", "bf16 / int8"),
    ),
    _encode(
        "documents",
        "6 layers x 384: {texts:,} documents of mixed lengths, dense",
        FLAG,
        "FlagEmbedding fp32 best / ours fp32",
        "FlagEmbedding fp32 best / ours bf16",
    ),
    _encode(
        "documents",
        "the same; in bf16 both",
        SBERT,
        "sentence-transformers fp32 / ours fp32",
        "sentence-transformers bf16 / ours bf16",
    ),
    _encode(
        "all",
        "the same, dense + sparse + multi-vector",
        FLAG,
        "all: FlagEmbedding fp32 / ours fp32",
        "all: FlagEmbedding fp32 / ours bf16",
    ),
    _encode(
        "queries",
        "256 queries in one call",
        FLAG,
        "256 queries: FlagEmbedding fp32 best / ours fp32",
        "256 queries: FlagEmbedding fp32 best / ours bf16",
    ),
    _encode(
        "query",
        "256 queries in a call each",
        "FlagEmbedding",
        "a query: FlagEmbedding fp32 / ours fp32",
        "a query: FlagEmbedding fp32 / ours bf16",
    ),
    _rerank("shared_candidates"),
    _rerank("own_candidates"),
    *(
        _sparse(case, *words)
        for case in (0, 1)
        for words in (
            (
                "sparse search, top 1000, docids left out, of",
                "Lucene's impact search (pyserini)",
                "search than lucene",
            ),
            ("the same with docids and scores as lists, of", "the same", "lists than lucene"),
            ("index for it, of all terms of", "the same", "index than lucene, all terms"),
        )
    ),
    *(_maxsim(case, peer) for case in range(4) for peer in ("FlagEmbedding", "numpy")),
    *(_dense(case) for case in range(4)),
    Row(
        "statistics",
        "four metrics of 400 queries x 1000, one thread",
        "trec_eval, called for each",
        ("metrics", "times_as_long_as_ours", "trec_eval, each"),
    ),
    Row(
        "statistics",
        "paired randomisation, 10,000 resamples of 400 queries",
        "scipy",
        ("paired_randomisation", "times_as_long_as_ours", "scipy"),
    ),
)


def processor_of(figures: dict[str, Any]) -> str | None:
    """The kind of processor on which figures were measured; None: it was not recorded."""
    return figures.get("machine", {}).get("processor")


def table(results: Path) -> str:
    """The table in Markdown: rows that were measured, a line for each kind of processor."""
    lines = [
        "| work | than | processor | times as fast, fp32 | bf16 | int8 |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in ROWS:
        for figures in _measured(results, row.bench):
            cells = [_cell(figures, place, row.inverse) for place in (row.fp32, row.bf16, row.int8)]
            if any(cells):
                work, kind = row.work.format(**figures), processor_of(figures)
                lines.append(f"| {work} | {row.than} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _measured(results: Path, bench: str) -> Iterator[dict[str, Any]]:
    """The figures of a bench on each kind of processor; those without one are left out."""
    for file in (results / f"{bench}.json", *sorted(results.glob(f"*/{bench}.json"))):
        if file.exists():
            figures = json.loads(file.read_text(encoding="utf-8"))
            if processor_of(figures):
                yield figures


def _cell(figures: Any, place: tuple[str | int, ...], inverse: bool) -> str:
    """The median that lies there, to three digits; empty: it was not measured."""
    try:
        for key in place:
            figures = figures[key]
    except (KeyError, IndexError):
        return ""
    if not place:
        return ""
    median = figures["median"]
    return f"{1 / median if inverse else median:.3g}"


def write(results: Path, document: Path = DOCUMENT) -> None:
    """Puts the table between its lines in the document."""
    before, rest = document.read_text(encoding="utf-8").split(FIRST + "\n")
    _, after = rest.split(LAST + "\n")
    text = f"{before}{FIRST}\n\n{table(results)}\n{LAST}\n{after}"
    document.write_text(text, encoding="utf-8")
