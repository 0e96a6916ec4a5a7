"""A mean is over all, or there is none."""

import pytest

from m3eval.metrics.means import over_all, points


def test_points_are_a_mean_times_100():
    assert points({"1": 0.5, "2": 0.25}) == pytest.approx(37.5)
    assert points({"1": 0.0}) == 0
    assert points({}) is None


def test_an_average_lacks_what_one_of_its_parts_lacks():
    assert over_all([50.0, 20.0]) == 35
    assert over_all([50.0, None]) is over_all([None]) is over_all([]) is None
