"""Texts, ids and counts: what stage 0 checks before it encodes anything."""

import hashlib

import pytest

from m3eval.benchmarks.counts import compare_counts
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.benchmarks.texts import TextRules, TextSet, document_texts, query_texts
from m3eval.errors import UserError


def text_set(*pairs):
    return TextSet("corpus-xx", "document", lambda: iter(pairs), 512)


def test_a_document_is_its_nonempty_fields_with_the_joint_between():
    rules = TextRules(["title", "text"], "\n")
    assert rules.text(Document("1", "Title", "Text")) == "Title\nText"
    assert rules.text(Document("1", "", "Text")) == "Text"
    assert TextRules(["text"], "\n").text(Document("1", "Title", "Text")) == "Text"
    assert (
        TextRules(["title", "text"], " ").text(Document("1", " T ", " x")) == " T   x"
    )  # nothing is stripped


def test_roles_have_their_own_limits():
    task = Task("xx", Corpus("en", lambda: iter([Document("d", "", "text")])), [Query("q", "why")])
    rules = TextRules(max_query_length=32, max_document_length=8192)
    assert (query_texts(task, rules).name, query_texts(task, rules).max_length) == (
        "queries-xx",
        32,
    )
    assert (
        document_texts(task.corpus, rules).name,
        document_texts(task.corpus, rules).max_length,
    ) == (
        "corpus-en",
        8192,
    )


def test_census():
    found = text_set(("a", "one"), ("b", "twö")).census()
    assert (found.count, found.work) == (2, 6)
    assert found.sha256 == hashlib.sha256("a\tone\nb\ttwö\n".encode()).hexdigest()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "no texts"),
        ([("a b", "x")], "white space"),
        ([("", "x")], "empty"),
        ([("a\u2003b", "x")], "white space"),
        ([("a", "x"), ("b", "y"), ("a", "z")], r"more than once: \['a'\]"),
    ],
)
def test_census_refuses_ids_that_no_run_can_hold(pairs, message):
    with pytest.raises(UserError, match=message):
        text_set(*pairs).census()


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


@pytest.mark.parametrize("found", [9, 11])
def test_other_counts_are_refused_unless_declared(found):
    with pytest.raises(
        UserError, match=rf"{found} documents of 10 published.*benchmark.subset=true"
    ):
        compare_counts(task(), found, subset=False)
    assert f"{found} documents of 10" in compare_counts(task(), found, subset=True)


def test_census_looks_for_ids():
    assert text_set(("a", "x"), ("b", "y")).census({"b", "c"}).absent == {"c"}
