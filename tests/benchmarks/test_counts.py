"""Counts of a benchmark against those that its authors published."""

import pytest

from m3eval.benchmarks.counts import compare_counts
from m3eval.benchmarks.task import Corpus, Query, Task
from m3eval.errors import UserError


def task(n_queries=3, documents=10, published_queries=3):
    return Task(
        "sw",
        Corpus("sw", lambda: iter(()), documents),
        [Query(str(i), "?") for i in range(n_queries)],
        published_queries=published_queries,
    )


def test_counts_as_published_pass_without_remark():
    assert compare_counts(task(), 10, subset=False) is None
    assert compare_counts(task(documents=None, published_queries=None), 7, subset=False) is None


@pytest.mark.parametrize("documents", [9, 11])
def test_other_counts_are_refused_unless_declared(documents):
    with pytest.raises(
        UserError, match=rf"{documents} documents of 10 published.*benchmark.subset=true"
    ):
        compare_counts(task(), documents, subset=False)
    assert f"{documents} documents of 10" in compare_counts(task(), documents, subset=True)
