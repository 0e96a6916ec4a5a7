"""Contenders: processes of their own that are timed in turn."""

import numpy as np
import pytest

from bench.pairs import Contender, best_of, in_rounds


def holds(mebibytes: int, *_):
    """Makes work that holds so much memory while it is done; `more` asks for more of it."""

    def run(warm: bool, more: int = 0) -> int:
        return int(np.ones((0 if warm else mebibytes + more) << 17).sum()) >> 17

    return run


def fails(*_):
    raise ValueError("no such checkpoint")


def test_a_contenders_peak_is_its_own():
    """And not what the process held that started it: a child begins as an image of its parent."""
    here = np.ones(900 << 17)  # 900 MiB
    small, large = Contender("small", holds, 10), Contender("large", holds, 300)
    assert in_rounds([small, large], 2) == {"small": 10, "large": 300}
    small.end()
    large.end()
    del here
    assert small.peak_gib < 0.5
    assert 0.25 < large.peak_gib - small.peak_gib < 0.32
    assert len(small.seconds) == len(large.cpu) == 2


def test_one_preparation_does_for_several_kinds_of_work():
    contender = Contender("one", holds, 10)
    assert contender.run(warm=True) == 0 and not contender.seconds
    assert contender.run(more=5) == 15
    contender.forget()
    assert in_rounds([contender], 3, more=1) == {"one": 11}
    assert len(contender.seconds) == 3
    contender.end()


def test_the_best_of_several_sizes():
    assert best_of({size: (holds, 300 // size, size) for size in (1, 100)}) == 100


def test_what_fails_ends_a_script_with_its_traceback():
    with pytest.raises(SystemExit, match="ValueError: no such checkpoint"):
        Contender("lost", fails)
