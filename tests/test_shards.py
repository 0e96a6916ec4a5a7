"""What reading shards takes: which texts are held, how often one is hashed, what garbage costs."""

from __future__ import annotations

import functools
import gc
import hashlib
import operator
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m3eval import content
from m3eval.benchmarks.once import ReadOnce
from m3eval.benchmarks.texts import Item, TextSet
from m3eval.commands import merge
from m3eval.layout import StoreFiles
from m3eval.manifests import StoreCost
from m3eval.runtime import Share
from m3eval.stages import workers
from m3eval.stages.shards import Done, cut, in_share, missing
from m3eval.stores.shard_writer import ShardWriter
from tests.records import store_plan

SIZE, SHARDS = 5, 6


class Text:
    """A text that says whether anybody holds it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> tuple[str, str]:
        return f"d{self.number}", "x" * (1 + self.number % 3)


def watched(tmp_path: Path) -> tuple[TextSet, ShardWriter, weakref.WeakSet[Text]]:
    """Texts, where their shards go, and those texts that somebody holds."""
    there: weakref.WeakSet[Text] = weakref.WeakSet()

    def items() -> Iterator[Item]:
        for number in range(SIZE * SHARDS - 2):
            text = Text(number)
            there.add(text)
            yield Item(1 + number % 3, text)

    texts = TextSet("corpus-xx", "document", lambda: (each.pair() for each in items()), 8)
    plan = replace(store_plan(SIZE * SHARDS - 2, "dense"), shard_size=SIZE)
    return replace(texts, lazy=items), ShardWriter(StoreFiles(tmp_path), plan), there


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_a_share_holds_no_text_of_others(tmp_path, of):
    texts, writer, there = watched(tmp_path)
    found: list[str] = []
    for share in (Share(number, of) for number in range(of)):
        held: list[int] = []
        own = [in_share(share, texts.name, number) for number in range(SHARDS)]
        for number, (sizes, items) in enumerate(
            cut(texts, writer, lambda number, share=share: in_share(share, texts.name, number))
        ):
            assert len(sizes) == (SIZE if number < SHARDS - 1 else SIZE - 2)
            assert len(items) == (len(sizes) if own[number] else 0)
            held.append(len(there))
            del items
        # The last text that the reader made is its own until the next one.
        assert all(n <= 1 for n, mine in zip(held, own, strict=True) if not mine)
        for shard in missing([(texts, writer)], share, lambda work, texts: None):
            found += shard.request.ids
    assert sorted(found) == sorted(f"d{n}" for n in range(SIZE * SHARDS - 2))


def test_what_is_passed_by_is_told_as_work(tmp_path):
    texts, writer, _ = watched(tmp_path)
    told: list[float] = []
    share = Share(0, 3)
    mine = list(missing([(texts, writer)], share, lambda work, texts: told.append(work)))
    assert sum(told) + sum(shard.work.sum() for shard in mine) == sum(
        texts.work(item.size) for item in texts.items()
    )


def frozen_while_reading(tmp_path, monkeypatch) -> list[int]:
    """How many objects the search for garbage leaves out: at each shard, and behind the last."""
    seen: list[int] = []

    def execute(setup, shards, on_progress):
        for _ in shards:
            seen.append(gc.get_freeze_count())
            yield Done("corpus-xx", StoreCost(1, 1.0, "CPU"))

    monkeypatch.setattr(workers, "in_this_process", execute)
    texts, writer, _ = watched(tmp_path)
    setup: Any = SimpleNamespace(runtime=SimpleNamespace(share=None, executor="local", processes=1))
    assert workers.encode(setup, [(texts, writer)], lambda work, texts: None)
    return [*seen, gc.get_freeze_count()]


def test_what_is_there_is_spared_the_search_for_garbage_while_texts_are_read(tmp_path, monkeypatch):
    *during, after = frozen_while_reading(tmp_path, monkeypatch)
    assert len(during) == SHARDS and min(during) > 10_000 and after == 0
    gc.freeze()
    try:  # whoever did that before finds it so
        assert min(frozen_while_reading(tmp_path, monkeypatch)) > 10_000
    finally:
        gc.unfreeze()


def test_merge_spares_what_is_there_too(monkeypatch):
    seen: list[int] = []
    census = SimpleNamespace(content=SimpleNamespace(count=1))
    reading = SimpleNamespace(census=lambda: census)
    job = SimpleNamespace(store=SimpleNamespace(path=Path("store")), reading=reading)
    setup: Any = SimpleNamespace(
        runtime=SimpleNamespace(share=None), cfg={"overwrite": False, "repair": False}
    )
    monkeypatch.setattr(merge.embed, "to_write", lambda setup: [])
    monkeypatch.setattr(merge.embed, "survey", lambda setup, skipping: [job])
    monkeypatch.setattr(merge.embed, "unfinished", lambda jobs: jobs)
    monkeypatch.setattr(merge.embed, "finish", lambda setup, job, cost: None)
    monkeypatch.setattr(merge, "require_complete", lambda job: seen.append(gc.get_freeze_count()))
    monkeypatch.setattr(merge, "merge_runs", lambda setup: None)
    merge.run(setup)
    assert len(seen) == 1 and seen[0] > 10_000 and gc.get_freeze_count() == 0


def test_a_text_that_was_counted_is_hashed_once(tmp_path, monkeypatch):
    texts, writer, _ = watched(tmp_path)
    reading = ReadOnce(texts)
    hashed: list[bytes] = []
    sha256 = hashlib.sha256

    def counted(content: bytes = b""):
        if content:
            hashed.append(content)
        return sha256(content)

    monkeypatch.setattr(content, "hashlib", SimpleNamespace(sha256=counted))
    once = replace(texts, lazy=reading.items)
    found = [shard.content for shard in missing([(once, writer)], None, lambda work, texts: None)]
    assert len(hashed) == len({*hashed}) == SIZE * SHARDS - 2
    monkeypatch.undo()
    census = reading.known
    assert (
        census and functools.reduce(operator.add, found) == census.content == texts.census().content
    )
