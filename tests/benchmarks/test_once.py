"""A set's hash is a sum, whoever makes the parts; a set is read once, however far it was looked."""

import hashlib
import itertools
import random
from functools import reduce
from operator import add

import pytest

from m3eval.benchmarks.once import ReadOnce
from m3eval.benchmarks.texts import TextSet
from m3eval.content import MODULUS, Content
from m3eval.errors import UserError

TEXTS = [(f"d{i}", "x" * (i % 7) if i % 7 else " \n") for i in range(40)]


def pairs(reading, **how):
    return [item.pair() for item in reading.items(**how)]


@pytest.fixture
def corpus():
    """A text set, and the ids that were read of it."""
    read = []

    def texts():
        for key, text in TEXTS:
            read.append(key)
            yield key, text

    return TextSet("corpus-xx", "document", texts, 512), read


def test_the_hash_is_the_sum_that_is_written_down():
    found = Content.of([("a", "one"), ("b", "twö")], 5, 512)
    hashed = [b"5\ta\tone", "6\tb\ttwö".encode()]
    numbers = [int(hashlib.sha256(each).hexdigest(), 16) for each in hashed]
    assert int(found.sum, 16) == sum(numbers) % MODULUS and len(found.sum) == 64
    assert (found.count, found.work, found.characters) == (2, 6, 6)


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_any_cut_add_up_to_the_whole(seed, corpus):
    """In numbers and hash also in any order; the first and the last id need theirs."""
    draw = random.Random(seed)
    cuts = [0, *sorted(draw.sample(range(1, 40), 6)), 40]
    parts = [Content.of(TEXTS[a:b], a, 512) for a, b in itertools.pairwise(cuts)]
    whole = corpus[0].census().content
    assert reduce(add, parts) == whole
    assert (whole.first, whole.last, whole.empty) == ("d0", "d39", 6)
    draw.shuffle(parts)
    assert reduce(add, parts).sum == whole.sum


@pytest.mark.parametrize(
    "change",
    [
        lambda texts: texts[::-1],
        lambda texts: [texts[1], texts[0], *texts[2:]],
        lambda texts: texts[:-1],
        lambda texts: [*texts[:-1], ("d39", "y")],
        lambda texts: [("e0", texts[0][1]), *texts[1:]],
        lambda texts: [*texts, ("d40", "")],
    ],
)
def test_other_texts_and_another_order_have_another_sum(change):
    assert Content.of(change(TEXTS), 0, 512).sum != Content.of(TEXTS, 0, 512).sum


@pytest.mark.parametrize("characters", [0, 1, 30, 10_000])
def test_a_set_is_read_once_however_far_it_was_looked_ahead(corpus, characters):
    texts, read = corpus
    reading = ReadOnce(texts, {"d3", "z"})
    reading.look(characters)
    assert (reading.known is not None) == (characters == 10_000)
    assert reading.so_far.content == Content.of(TEXTS[: len(read)], 0, 512) or not read
    assert pairs(reading) == TEXTS
    assert read == [key for key, _ in TEXTS]
    assert reading.census() == texts.census({"d3", "z"})
    assert reading.census().absent == {"z"}


def test_what_is_known_is_not_counted_again_and_who_reads_twice_reads_the_files(corpus):
    texts, read = corpus
    known = texts.census()
    reading = ReadOnce(texts, census=known)
    reading.look()
    assert reading.census() is known and len(read) == 40
    assert pairs(reading) == pairs(reading) == TEXTS


def test_a_census_that_is_asked_for_keeps_no_text(corpus):
    texts, read = corpus
    reading = ReadOnce(texts)
    reading.look(30)
    reading.census()
    assert len(read) == 40 and not reading._ahead
    assert pairs(reading) == TEXTS


def test_what_is_wrong_is_said_as_soon_as_it_is_read_and_as_often_as_it_is_asked():
    given = [("a", "x"), ("b c", "x"), ("a", "x")]
    reading = ReadOnce(TextSet("corpus-xx", "document", lambda: iter(given), 512))
    reading.look(1)
    for act in (reading.look, reading.census, reading.look):
        with pytest.raises(UserError, match="'b c' is empty or contains white space"):
            act()
    repeated = ReadOnce(TextSet("corpus-xx", "document", lambda: iter(given[::2]), 512))
    repeated.look(1)
    with pytest.raises(UserError, match=r"more than once: \['a'\]"):
        pairs(repeated)


def test_at_the_end_what_was_asked_for_is_done_once(corpus):
    done = []
    reading = ReadOnce(corpus[0])
    reading.at_end.append(done.append)
    reading.look(5)
    assert not done
    pairs(reading)
    reading.census()
    assert done == [reading.known]
