"""Which texts a process holds while it reads the shards of a share."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from m3eval.benchmarks.texts import Item, TextSet
from m3eval.layout import StoreFiles
from m3eval.runtime import Share
from m3eval.stages.shards import cut, in_share, missing
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
