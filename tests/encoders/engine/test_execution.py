"""Packs lose nothing; results come in order, whatever the threads; full memory halves a pack and
nothing else does.
"""

import dataclasses
import os
import threading

import numpy as np
import pytest
import torch

from m3eval.encoders.engine import execution
from m3eval.encoders.engine.execution import execute
from m3eval.encoders.engine.packs import TEXTS, Pack, inner_tokens, packs
from m3eval.encoders.representations import ragged_range
from m3eval.errors import UserError
from m3eval.runtime import settle


def runtime(threads: int = 1, budget: int = 64):
    return settle("cpu", "fp32", threads, budget, 100, 100)


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def texts(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 50, rng.integers(1, 90)).astype(np.int32) for _ in range(n)]


@pytest.mark.parametrize("budget", [1, 64, 300, 100_000])
def test_packs_hold_every_text_once_within_the_budget(budget):
    ids = texts(200)
    found = list(packs(ids, runtime(budget=budget)))
    assert sorted(np.concatenate([pack.rows for pack in found])) == list(range(200))
    assert all(len(pack.rows) == 1 or len(pack.ids) <= budget for pack in found)
    for pack in found:
        assert pack.lengths.tolist() == sorted((len(ids[row]) for row in pack.rows), reverse=True)
        np.testing.assert_array_equal(pack.ids, np.concatenate([ids[row] for row in pack.rows]))


def test_packs_of_nothing_and_of_very_many():
    assert list(packs([], runtime())) == []
    many = list(packs([np.zeros(1, np.int32)] * (TEXTS + 5), runtime(budget=10**6)))
    assert max(len(pack.rows) for pack in many) <= TEXTS


def test_a_small_call_is_cut_alike_for_every_number_of_threads():
    ids = texts(100)
    one, four = (list(packs(ids, runtime(threads, 100_000))) for threads in (1, 4))
    assert len(one) == len(four) > 4
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(one, four, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
def test_freed_memory_goes_back_to_the_system_now_and_then(threads, monkeypatch):
    calls = []
    monkeypatch.setattr(execution, "_trim", lambda: calls.append)
    work = list(packs(texts(300), runtime()))
    assert len(list(execute(iter(work), double, runtime(threads)))) == len(work) > 8
    assert calls == [0] * (len(work) // 4)


def test_few_kernels_are_kept_unless_somebody_said_how_many(monkeypatch):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "1024")
    runtime().set_up_torch()
    assert os.environ[name] == "1024"
    monkeypatch.delenv(name)
    runtime().set_up_torch()
    assert os.environ[name] == "128"


def double(pack: Pack) -> dict[str, tuple[torch.Tensor]]:
    return {"double": (torch.from_numpy(2 * pack.ids),)}


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order(threads):
    work = list(packs(texts(200), runtime()))
    found = list(execute(iter(work), double, runtime(threads)))
    assert [pack.rows.tolist() for pack, _ in found] == [pack.rows.tolist() for pack in work]
    assert all(np.array_equal(outputs["double"][0], 2 * pack.ids) for pack, outputs in found)


def test_each_worker_computes_with_one_thread_and_the_setting_comes_back():
    torch.set_num_threads(2)
    seen = []

    def compute(pack: Pack) -> dict[str, tuple[torch.Tensor]]:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return double(pack)

    list(execute(packs(texts(50), runtime()), compute, runtime(2)))
    assert all(name.startswith("pack") and n == 1 for name, n in seen)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_full_memory_halves_the_pack_and_goes_on(threads, capsys):
    def compute(pack: Pack) -> dict[str, tuple[torch.Tensor]]:
        if len(pack.ids) > 100:
            raise torch.OutOfMemoryError("no memory")
        return double(pack)

    ids = texts(60)
    found = list(execute(packs(ids, runtime(budget=400)), compute, runtime(threads)))
    assert sorted(row for pack, _ in found for row in pack.rows) == list(range(60))
    assert all(np.array_equal(outputs["double"][0], 2 * pack.ids) for pack, outputs in found)
    assert max(len(pack.ids) for pack, _ in found) <= 100
    assert "out of memory" in capsys.readouterr().out


def test_a_text_that_does_not_fit_is_an_error_that_says_so():
    def compute(pack: Pack) -> dict[str, tuple[torch.Tensor]]:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(UserError, match="on a single text of .* tokens"):
        list(execute(packs(texts(3), runtime()), compute, runtime()))


@pytest.mark.parametrize("threads", [1, 2])
def test_any_other_error_is_raised_as_it_is(threads):
    calls = []

    def compute(pack: Pack) -> dict[str, tuple[torch.Tensor]]:
        calls.append(pack)
        raise RuntimeError("a bug, not memory")

    with pytest.raises(RuntimeError, match="a bug"):
        list(execute(packs(texts(40), runtime()), compute, runtime(threads)))
    assert len(calls) <= threads + 2  # none was tried again in halves, and the rest was dropped


class FakeEvent:
    """Has happened once the host waits for it; keeps the stream that it was recorded on."""

    recorded, waited = [], []

    def record(self, stream=None):
        self.stream = stream
        FakeEvent.recorded.append(stream)

    def synchronize(self):
        FakeEvent.waited.append(self.stream)


@pytest.mark.parametrize("device", ["cuda:1", "cuda:0", "cuda"])
def test_a_gpus_results_are_waited_for_on_its_own_stream(monkeypatch, device):
    """An event on the current device, the first, had happened before another's results came."""
    monkeypatch.setattr(FakeEvent, "recorded", [])
    monkeypatch.setattr(FakeEvent, "waited", [])
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda where=None: f"stream of {where}")
    work = list(packs(texts(40), runtime()))
    on_gpu = dataclasses.replace(runtime(), device=device)
    found = list(execute(work, lambda pack: {"n": (torch.tensor(len(pack.ids)),)}, on_gpu))
    assert [pack for pack, _ in found] == work and len(work) > 3
    assert FakeEvent.waited == FakeEvent.recorded == [f"stream of {device}"] * len(work)


@pytest.mark.parametrize(
    ("device", "expected"), [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", [])]
)
def test_what_computes_sets_its_own_gpu(monkeypatch, device, expected):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    dataclasses.replace(runtime(), device=device).set_up_torch()
    assert chosen == expected


def test_ranges():
    assert ragged_range(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert inner_tokens(np.array([4, 1, 3]), 1, 1).tolist() == [1, 2, 6]
    assert inner_tokens(np.array([2]), 3, 0).tolist() == []
