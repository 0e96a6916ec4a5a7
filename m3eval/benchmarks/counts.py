"""Whether a benchmark is complete: its numbers of documents and queries against the published."""

from __future__ import annotations

from m3eval.benchmarks.task import Task
from m3eval.errors import UserError


def compare_counts(task: Task, documents: int, subset: bool) -> str | None:
    """Compares the counts of one language with those that its authors published.

    Args:
        task: the language; its queries are counted here.
        documents: the number of documents that a census counted.
        subset: whether the user declared the benchmark to be a subset.

    Returns:
        A remark for headings, such as "sw: 9 documents of 10 published". None if every count that
        is published agrees.

    Raises:
        UserError: a count differs and no subset was declared.
    """
    counts = [
        ("documents", documents, task.corpus.published),
        ("queries", len(task.queries), task.published_queries),
    ]
    differing = [
        f"{n:,} {what} of {published:,}"
        for what, n, published in counts
        if published is not None and n != published
    ]
    if not differing:
        return None
    remark = f"{task.language}: {' and '.join(differing)} published"
    if not subset:
        raise UserError(
            f"{remark}. Scores on another number of texts cannot be compared with published ones. "
            "Fetch the missing files again; or, if you want a part of the benchmark, set "
            "benchmark.subset=true, and every table says that it is a subset."
        )
    return remark
