"""Texts of documents and queries, the census over them, and shards."""

import hashlib
import itertools

import pytest

from m3eval.benchmarks.tally import LONGEST_TOKEN, SAMPLE
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.benchmarks.texts import TextRules, TextSet, document_texts, query_texts, shards
from m3eval.errors import UserError


def text_set(*pairs):
    return TextSet("corpus-xx", "document", lambda: iter(pairs), 512)


def test_a_document_is_its_nonempty_fields_with_the_joint_between():
    rules = TextRules(["title", "text"], "\n")
    assert rules.text(Document("1", "Title", "Text")) == "Title\nText"
    assert rules.text(Document("1", "", "Text")) == "Text"
    assert TextRules(["text"], "\n").text(Document("1", "Title", "Text")) == "Text"
    # White space of a field stays.
    assert TextRules(["title", "text"], " ").text(Document("1", " T ", " x")) == " T   x"


def test_roles_have_their_own_limits():
    task = Task("xx", Corpus("en", lambda: iter([Document("d", "", "text")])), [Query("q", "why")])
    rules = TextRules(max_query_length=32, max_document_length=8192)
    queries, documents = query_texts(task, rules), document_texts(task.corpus, rules)
    assert (queries.name, queries.max_length) == ("queries-xx", 32)
    assert (documents.name, documents.max_length) == ("corpus-en", 8192)


def test_census_counts_texts_and_characters_and_hashes_both():
    census = text_set(("a", "one"), ("b", "twö")).census()
    assert (census.content.count, census.content.work) == (2, 6)
    assert census.sha256 == hashlib.sha256("a\tone\nb\ttwö\n".encode()).hexdigest()


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 129, 1000, 12_345])
def test_a_census_keeps_texts_from_all_over_the_set(count):
    census = text_set(*((str(i), f"text {i}") for i in range(count))).census()
    assert (census.content.first, census.content.last) == ("0", str(count - 1))
    assert len(census.sample) == min(count, SAMPLE)
    positions = [int(key) for key, _ in census.sample]
    assert census.sample == tuple((str(i), f"text {i}") for i in positions)
    gaps = [after - before for before, after in itertools.pairwise(positions)]
    even = count / len(positions)
    assert all(even / 2.1 <= gap <= 2.1 * even for gap in gaps)
    assert positions[0] == 0 and count - positions[-1] <= 2.1 * even


def test_a_sample_keeps_no_more_of_a_text_than_may_be_read():
    (kept,) = text_set(("a", "x" * 100_000)).census().sample
    assert kept == ("a", "x" * LONGEST_TOKEN * 512)


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


def test_census_names_wanted_ids_that_are_absent():
    assert text_set(("a", "x"), ("b", "y")).census({"b", "c"}).absent == {"c"}


def test_census_counts_texts_that_say_nothing():
    census = text_set(("a", "x"), ("b", ""), ("c", " \n\u2003"), ("d", "0")).census()
    assert census.content.empty == 2
    assert census.remark("corpus-xx") == ("  corpus-xx: 2 of 4 texts are empty or white space only")
    assert text_set(("a", "x")).census().remark("corpus-xx") is None


def test_a_shard_ends_when_it_has_enough_texts_or_characters():
    texts = [("a", "1"), ("b", "1"), ("c", "12345"), ("d", "1")]
    keys = [[key for key, _ in shard] for shard in shards(texts, 2, 5)]
    assert keys == [["a", "b"], ["c"], ["d"]]
    assert list(shards([], 2, 5)) == []
