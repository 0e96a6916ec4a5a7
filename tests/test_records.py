"""Records: read as they were written, of earlier versions too; refused where they do not fit."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.utils import get_object

from m3eval.comparable import Comparable, Difference, Obstacle, differences, same_store, same_texts
from m3eval.errors import UserError
from m3eval.manifests import DenseStorage, Result, RunManifest, StorePlan
from m3eval.reading import Heading, Reading
from m3eval.records import plain, read, record, write
from m3eval.seals import Damaged, Seal
from tests.records import run_manifest, store_plan, text_identity

PUBLISHED = sorted((Path(__file__).parents[1] / "results").rglob("scores.json"))


def test_what_is_written_is_read_back():
    run = run_manifest(settings={"weights": {"dense": 1.0}})
    hybrid = replace(
        run, inputs={"dense": run}, compression={"corpus-ko": DenseStorage(64, "int8")}
    )
    for value in (run, hybrid, store_plan(3, "dense", dense=DenseStorage(None, "binary"))):
        assert record(json.loads(json.dumps(plain(value))), type(value)) == value


def test_optional_fields_that_say_nothing_are_not_written():
    written = plain(run_manifest())
    assert "compression" not in written and "model" not in written
    assert "sha256" not in written["texts"]["corpus-ko"]
    assert written["encoder"]["name"] == "m3" and written["inputs"] == {}


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_results_are_read(path):
    """Of versions that called documents passages, and of those that recorded less."""
    result = read(path, Result)
    config = result.provenance.config
    assert "max_document_length" in config["benchmark"]["text"]
    title = Heading.configured(config).said(Reading.configured(config))
    if result.provenance.encoder:
        assert title == result.title


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"depth": "ten"}, None),  # settings are their retriever's affair
        ({"texts": {"corpus-ko": {"max_length": "512"}}}, "texts"),
        ({"stores": ["a"]}, "stores"),
        ({"encoder": 3}, "expected named values"),
        ({"language": None}, "language"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(tmp_path, change, where):
    path = tmp_path / "ko.json"
    path.write_text(json.dumps(plain(run_manifest()) | change))
    if where is None:
        assert read(path, RunManifest) == run_manifest()
        return
    with pytest.raises(UserError, match=rf"ko.json is no RunManifest.*{where}.*Make it again"):
        read(path, RunManifest)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "null"])
def test_a_damaged_file_is_refused(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError, match="plan.json is no StorePlan"):
        read(path, StorePlan)


def test_differences_name_every_value():
    left, right = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}}
    assert differences(left, right) == [Difference("b.c", 2, 4), Difference("b.d", 3, None)]
    assert differences(left | {"x": 2}, left, {"x"}) == []
    changed = replace(store_plan(3, "dense"), texts=text_identity("corpus-xx", max_length=9))
    names = [difference.where for difference in differences(store_plan(3, "dense"), changed)]
    assert names == ["texts.count", "texts.max_length", "texts.sum"]
    assert str(Difference("b.c", 2, 4).said()) == "b.c: 2 there, 4 asked for"


def test_a_verdict_names_every_obstacle_and_the_remedy():
    verdict = Comparable.by([Difference("texts.max_length", 1, 2)]).within("ko")
    assert not verdict and verdict.obstacles[0].name == "max_length"
    with pytest.raises(UserError, match=r"Not alike:\n  ko: texts.max_length: 1 .*\nMend it"):
        verdict.require("Not alike", "Mend it.")
    left, accepted = verdict.accepting(["max_length"])
    assert left and accepted == ["ko: texts.max_length: 1 there, 2 asked for"]
    left.require("Never raised")
    same = Obstacle("a", "b")
    assert (Comparable((same,)) + Comparable((same,))).obstacles == (same,)


def test_texts_are_compared_by_rules_number_and_hash_and_not_by_where_they_lay():
    counted = text_identity("corpus-ko", count=3, sha256="a")
    recorded = {"corpus-ko": counted}
    elsewhere = replace(counted, source={"judged_by": "answers", "corpus": "elsewhere"})
    assert same_texts(recorded, [elsewhere])
    for other in ({"sha256": "b"}, {"count": 4}, {"split": "test"}, {"joint": " "}):
        assert not same_texts(recorded, [replace(counted, **other)])
    assert not same_texts({}, [counted])
    # Nothing tells what a record is of that has no hash.
    assert not same_texts({"corpus-ko": text_identity("corpus-ko")}, [counted])


def test_of_two_kinds_of_hashes_those_decide_that_both_records_have():
    both, early, shares = (
        text_identity("corpus-ko", count=3, **hashes)
        for hashes in ({"sha256": "a", "sum": "b"}, {"sha256": "a"}, {"sum": "b"})
    )
    for left, right in itertools.product((both, early, shares), repeat=2):
        known = {*left.hashes} & {*right.hashes}
        verdict = same_texts({"corpus-ko": left}, [right])
        assert bool(verdict) == bool(known)
        for name in known:  # each of them
            assert not same_texts({"corpus-ko": left}, [replace(right, **{name: "c"})])
    said = str(same_texts({"corpus-ko": early}, [shares]).obstacles[0])
    assert "whether these are the same cannot be told. Make the older one again" in said


def test_a_plan_without_counts_is_held_against_rules_only():
    counted, rules = store_plan(3, "dense"), store_plan(3, "dense").rules
    for left, right in itertools.permutations((counted, rules)):
        assert same_store(left, right, finished=True)
    other = replace(rules, texts=replace(rules.texts, max_length=9))
    assert [each.name for each in same_store(counted, other, True).obstacles] == ["max_length"]
    assert not same_store(counted, store_plan(4, "dense"), finished=True)


def test_runs_are_equal_wherever_their_texts_came_from():
    of = {"corpus-ko": text_identity("corpus-ko", sha256="a")}
    run = run_manifest(texts=of, commits={"x/y": "abc"})
    moved = {"corpus-ko": replace(of["corpus-ko"], source={"judged_by": "answers"})}
    other = replace(run, texts=moved, commits={}, files={"ko.trec": Seal(1, "b")})
    assert differences(run, other) == []
    assert differences(replace(run, inputs={"a": run}), replace(run, inputs={"a": other})) == []


def test_a_record_that_was_edited_is_refused(tmp_path):
    path = tmp_path / "ko.json"
    write(path, run_manifest())
    assert read(path, RunManifest) == run_manifest()
    written = path.read_text()
    path.write_text(json.dumps(json.loads(written)))  # laid out otherwise: the same content
    assert read(path, RunManifest) == run_manifest()
    path.write_text(written.replace('"depth": 1000', '"depth": 100'))
    with pytest.raises(Damaged, match=r"ko.json is damaged: .* Make it again."):
        read(path, RunManifest)
    # Records of earlier versions have no digest.
    path.write_text(json.dumps(plain(run_manifest())))
    assert read(path, RunManifest) == run_manifest()


def test_a_finished_store_may_hold_more_and_be_of_other_versions():
    there = store_plan(3, "dense", "sparse", made_with={"torch": "1"})
    wanted = store_plan(3, "dense", made_with={"torch": "2"}, shard_size=7)
    assert same_store(there, wanted, finished=True)
    assert not same_store(there, wanted, finished=False)
    assert not same_store(wanted, there, finished=True)


def test_what_published_results_were_made_by_is_still_found():
    """The site and `info` build encoders and retrievers from the names in a result."""
    texts = "".join(path.read_text(encoding="utf-8") for path in PUBLISHED)
    targets = {*re.findall(r'"_target_": "([^"]+)"', texts)}
    assert len(targets) > 10
    assert all(callable(get_object(target)) for target in targets)
