"""Examples and their batches: what is read, drawn, grouped, and what is refused."""

import json

import pytest

from m3eval.errors import UserError
from m3eval.training.batches import Batches, length_groups
from m3eval.training.data import Example, Examples, check, read


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_both_forms_are_read(tmp_path):
    flag = {
        "query": "q",
        "pos": ["p"],
        "neg": ["n", "m"],
        "pos_scores": [2],
        "neg_scores": [1, 0.5],
        "neg_q": ["x", "y"],
    }
    lines(tmp_path / "a.jsonl", flag)
    lines(tmp_path / "b.jsonl", {"anchor": "a", "positive": "p", "negative": "n"})
    assert read([str(tmp_path)]) == [
        Example("a", "q", ("p",), ("n", "m"), (2.0,), (1.0, 0.5), ("x", "y")),
        Example("b", "a", ("p",), ("n",)),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([], "line 1 must be an object with query, pos and neg"),
        ({"query": 3, "pos": ["p"]}, "line 1: 'query' must be a text, and 'pos' hold at least one"),
        ({"query": "q", "pos": []}, "line 1: 'query' must be a text, and 'pos' hold at least one"),
        ({"query": "q", "pos": [None]}, "line 1: 'pos' must be a list of texts"),
        ({"query": "q", "pos": ["p"], "neg": 3}, "line 1: 'neg' must be a list of texts"),
        ({"anchor": "q", "positive": None}, "line 1: 'pos' must be a list of texts"),
        (
            {"query": "q", "pos": ["p"], "pos_scores": []},
            "line 1: pos_scores must be a list with a number for each of 1 texts",
        ),
        (
            {"query": "q", "pos": ["p"], "pos_scores": ["high"]},
            "line 1: pos_scores must be numbers",
        ),
        (
            {"query": "q", "pos": ["p"], "neg": ["n"], "neg_q": []},
            "line 1: neg_q has 0 texts for 1 negatives",
        ),
    ],
)
def test_malformed_rows_are_named(tmp_path, row, said):
    with pytest.raises(UserError, match=said):
        read([lines(tmp_path / "x.jsonl", row)])


def test_all_files_that_cannot_be_read_are_named_together(tmp_path):
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(UserError) as error:
        read([str(tmp_path / "x.jsonl"), str(tmp_path / "none.jsonl")])
    assert "line 1 is not JSON" in str(error.value) and "none.jsonl cannot be read" in str(
        error.value
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there is no \*\.jsonl in"):
        read([str(tmp_path / "empty")])


def test_a_group_needs_negatives():
    examples = [Example("s", "q", ("p",), ())]
    check(examples, 1)
    with pytest.raises(UserError, match=r"data.group=2 asks for negatives, and 1 of 1 examples"):
        check(examples, 2)
    with pytest.raises(UserError, match=r"data.group=0: a question needs its positive"):
        check(examples, 0)
    with pytest.raises(UserError, match=r"1 of 1 examples have none \(pos_scores, neg_scores\)"):
        check(examples, 1, scores=True)
    check([Example("s", "q", ("p",), (), (1.0,), ())], 1, scores=True)
    with pytest.raises(UserError, match=r"has no example"):
        check([], 1)


def test_a_penalty_needs_questions_of_the_negatives():
    asked = Example("s", "q", ("p",), ("n",), negative_queries=("x",))
    check([asked], 2, asked=True)
    lacking = Example("s", "who", ("p",), ("n",))
    check([asked, lacking], 2)
    with pytest.raises(UserError, match=r"1 of 2 examples have none, for example 'who' of s"):
        check([asked, lacking], 2, asked=True)
    with pytest.raises(UserError, match=r"data.group=1: the penalty is about negatives"):
        check([asked], 1, asked=True)


def test_a_draw_depends_on_seed_epoch_and_example_alone():
    example = Example("s", "q", ("p0", "p1"), ("n0", "n1", "n2"), (5, 6), (0, 1, 2))
    draws = {
        (seed, epoch, i): Examples([example] * 4, 3, seed)[epoch, i]
        for seed in (0, 1)
        for epoch in (0, 1)
        for i in range(4)
    }
    assert draws[0, 1, 2] == Examples([example] * 4, 3, 0)[1, 2]
    assert len({each.documents for each in draws.values()}) > 4
    for each in draws.values():
        positive, *negatives = each.documents
        assert each.scores == (5 + int(positive[1]), *(int(n[1]) for n in negatives))
        assert len({*negatives}) == 2
    (few,) = {
        len(Examples([Example("s", "q", ("p",), ("n",))], 4, 0)[e, 0].documents) for e in (0, 1)
    }
    assert few == 4  # repeated, as in FlagEmbedding


def test_length_groups():
    lengths, sources = [5, 10, 11, 7], ["a", "a", "a", "b"]
    groups = length_groups(lengths, sources, [(10, 3), (20, 2)], True)
    assert [(g.name, g.size, g.members) for g in groups] == [
        ("a up to 10 tokens", 3, (0, 1)),
        ("a up to 20 tokens", 2, (2,)),
        ("b up to 10 tokens", 3, (3,)),
    ]
    mixed = length_groups(lengths, sources, [(10, 3), (20, 2)], False)
    assert [group.members for group in mixed] == [(0, 1, 3), (2,)]
    with pytest.raises(UserError, match=r"data.batch_sizes=\[\[10, 3\]\]: the longest text has 11"):
        length_groups(lengths, sources, [(10, 3)], True)
    with pytest.raises(UserError, match=r"a batch size of at least 1"):
        length_groups(lengths, sources, [(10, 0)], True)


def batches(keys=None, processes=1, seed=0):
    groups = length_groups([5] * 11 + [15] * 7, ["a"] * 18, [(10, 2), (20, 3)], True)
    return Batches(groups, keys or [frozenset([str(i)]) for i in range(18)], processes, seed)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_batches_of_a_step_are_of_one_group(processes):
    made = batches(processes=processes)
    listed = list(made)
    assert len(listed) == len(made)
    for start in range(0, len(listed), processes):
        step = listed[start : start + processes]
        assert len({number < 11 for batch in step for _, number in batch}) == 1
        assert len({len(batch) for batch in step}) == 1
    assert len({number for batch in listed for _, number in batch}) == sum(map(len, listed))


def test_epochs_differ_and_come_again():
    made = batches()
    epochs = {}
    for epoch in (0, 1, 0):
        made.set_epoch(epoch)
        listed = [[number for _, number in batch] for batch in made]
        assert epochs.setdefault(epoch, listed) == listed
        assert {e for batch in made for e, _ in batch} == {epoch}
    assert epochs[0] != epochs[1] and list(batches(seed=1)) != list(batches(seed=0))


def test_a_document_that_answers_two_questions_is_not_a_negative_of_both():
    """Unless nothing else is left: then the step is filled nevertheless, not made smaller."""
    keys = [frozenset(["shared"] if i in (0, 4) else [str(i)]) for i in range(18)]
    for seed in range(30):
        for batch in batches(keys, seed=seed):
            assert not {0, 4} <= {number for _, number in batch}
    same = [frozenset(["shared"])] * 18
    assert [len(batch) for batch in batches(same)] == [len(batch) for batch in batches()]
