"""bench.schedule against closed forms and a second scheduler; bench.simulation on two languages."""

from __future__ import annotations

import heapq
import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from bench import executors, growth, simulation
from bench.executors import CASES, Piece, World
from bench.rates import Rates
from bench.schedule import Crew, Outage, Step, run
from m3eval.runtime import Share
from m3eval.stages.executors import cluster
from m3eval.stages.shards import in_share

RATES = Rates(
    read=2e-5,
    own=3e-5,
    passed=1e-5,
    looked=1e-5,
    handed=1e-6,
    held=1000.0,
    written=1e-9,
    checked=1e-9,
    finished=1e-4,
    tokenised=300_000.0,
    line_written=6e-7,
    line_merged=7e-7,
    spread=(0.9, 1.0, 1.1),
)
LATE = Crew((1.0,), ahead=2, bound=False, survives=True)
EARLY = Crew((1.0,), ahead=5, bound=True, survives=False)


def crew(like: Crew, *speeds: float, **changes: float) -> Crew:
    return replace(like, speeds=speeds, **changes)


def works(*seconds: float, read: float = 0.0) -> list[Step]:
    return [Step(read, read, each, texts=1, bytes=1.0) for each in seconds]


def drawn(n: int) -> list[float]:
    return np.random.default_rng(1).uniform(1, 9, n).tolist()


@pytest.mark.parametrize("like", [LATE, EARLY])
def test_one_worker_takes_the_sum(like):
    seconds = drawn(30)
    ended = run(works(*seconds), like, [])
    assert ended.seconds == pytest.approx(sum(seconds)) == ended.busy
    assert (ended.wasted, ended.twice, ended.stops) == (0, 0, 0)


@pytest.mark.parametrize("like", [LATE, EARLY])
@pytest.mark.parametrize("n, workers", [(1, 4), (20, 4), (21, 4), (23, 7)])
def test_equal_shards_go_in_rounds(like, n, workers):
    ended = run(works(*[3.0] * n), crew(like, *[1.0] * workers), [])
    assert ended.seconds == pytest.approx(3 * math.ceil(n / workers))


def test_shards_for_whoever_is_free_go_as_a_list_scheduler_has_it():
    """Speeds differ: each shard begins with whoever is the first to be free."""
    seconds, speeds = drawn(200), [1.0, 0.5, 0.8, 1.0, 0.3]
    ended = run(works(*seconds), crew(LATE, *speeds), [])
    free = [(0.0, worker) for worker in range(len(speeds))]
    for each in seconds:
        now, worker = heapq.heappop(free)
        heapq.heappush(free, (now + each / speeds[worker], worker))
    assert ended.seconds == pytest.approx(max(free)[0])


def test_a_slow_worker_keeps_what_it_was_handed():
    """Of twelve shards for two workers, five lie with the one that is a tenth as fast."""
    slow = run(works(*[1.0] * 12), crew(EARLY, 1.0, 0.1), [])
    assert slow.seconds == pytest.approx(50)
    assert run(works(*[1.0] * 12), crew(LATE, 1.0, 0.1), []).seconds == pytest.approx(20)


@pytest.mark.parametrize("like", [LATE, EARLY])
def test_a_slow_reader_is_the_bound(like):
    ended = run(works(*[1.0] * 40, read=0.7), crew(like, *[1.0] * 8), [], tail=5.0)
    assert ended.seconds == pytest.approx(40 * 0.7 + 5) and ended.reading == ended.seconds
    assert run(works(1.0, 1.0, read=0.7), crew(like, 1.0, 1.0), []).seconds == pytest.approx(2.4)


def test_no_more_is_under_way_than_there_is_room_for():
    for like in (LATE, EARLY):
        ended = run(works(*[1.0] * 50), crew(like, 1.0, 1.0, 1.0), [])
        assert ended.held == 3 * like.ahead


def test_a_lost_worker_costs_what_it_was_at():
    """Two workers, shards of 4 s; the second is lost at 6 and back at 9, to begin at 10."""
    away = [Outage(6.0, 9.0, range(1, 2))]
    ended = run(works(*[4.0] * 5), crew(LATE, 1.0, 1.0, start=1.0), away)
    # 1-5 two, 5-9 the first; at 6 one is lost. 9-13 that one, 10-14 the fifth by who is back.
    assert ended.seconds == pytest.approx(14)
    assert (ended.wasted, ended.twice, ended.stops) == (pytest.approx(1), 1, 0)


def test_a_crew_that_does_not_survive_begins_again_with_what_is_there():
    """At 6 two of five are done, two are lost at half; all is read anew, and what is there."""
    away = [Outage(6.0, 9.0, range(1, 2))]
    steps = works(*[4.0] * 5, read=0.0)
    ended = run(steps, crew(EARLY, 1.0, 1.0, checked=0.5), away)
    assert (ended.wasted, ended.twice, ended.stops) == (pytest.approx(4), 2, 1)
    assert ended.seconds == pytest.approx(9 + 2 * 0.5 + 2 * 4)
    with_reader = run(steps, crew(LATE, 1.0, 1.0, checked=0.5), [Outage(6.0, 9.0, range(2))])
    assert with_reader.seconds == ended.seconds and with_reader.stops == 1
    read = [step._replace(read=1.0, again=0.25) for step in steps]
    again = run(read, crew(EARLY, 1.0, 1.0), away)
    # One is done at 6, the second would be in that moment. From 9 on: .25 to compare, then a
    # second for each of four; the last waits for the worker that begins the third at 11.25.
    assert again.seconds == pytest.approx(9 + 0.25 + 2 + 4 + 4)


def test_every_shard_is_kept_once_whatever_is_lost():
    rng = np.random.default_rng(3)
    seconds, speeds = drawn(60), [1.0, 0.5, 1.0, 1.0]
    for like in (LATE, EARLY):
        away = []
        for worker in range(4):
            begins = np.cumsum(rng.exponential(40, 50) + 5)
            away += [Outage(b, b + 5, range(worker, worker + 1)) for b in begins.tolist()]
        away.sort()
        ended = run(works(*seconds, read=0.01), crew(like, *speeds, start=0.5), away)
        assert ended.twice > 0 and ended.wasted > 0
        kept = sum(seconds)
        assert kept <= ended.busy <= kept / 0.5
        same = run(works(*seconds, read=0.01), crew(like, *speeds, start=0.5), away)
        assert asdict(same) == asdict(ended)


def world(n: int, **changes) -> World:
    pieces = [Piece(f"corpus-{i % 2}", i // 2, 100, 2e4, 3e5, 1.0) for i in range(n)]
    return World(pieces, RATES, tokens_per_second=1e4, start=0.0, **changes)


def test_a_share_takes_its_own_sum_and_what_it_passes_by():
    here = world(40)
    for number in range(3):
        share = Share(number, 3)
        own = [in_share(share, each.text_set, each.number) for each in here.pieces]
        found, tail = executors.steps(here, share, several=False, in_turn=False)
        assert len(found) == sum(own)
        reading = sum(step.read for step in found) + tail
        assert reading == pytest.approx(sum(own) * 100 * 3e-5 + (40 - sum(own)) * 100 * 1e-5)
    quiet = executors.stage_0(here, "shares", 3, CASES[0], 0)
    sums = [
        2.0 * sum(in_share(Share(k, 3), each.text_set, each.number) for each in here.pieces)
        for k in range(3)
    ]
    merge = 40 * (1e-4 + 100 * 1e-5 + 3e5 * 1e-9)
    # A share's first shard is encoded once it was read: a thousandth of a second each.
    assert quiet.hours * 3600 == pytest.approx(max(sums) + merge, abs=0.01)
    assert quiet.ending_hours * 3600 == pytest.approx(merge)


def test_crews_are_what_the_executors_are():
    here = world(10)
    (ray,) = executors.crews(here, "ray", 16)
    (together,) = executors.crews(here, "processes", 16)
    assert (ray[0].bound, ray[0].survives, ray[0].ahead) == (False, True, cluster.AHEAD)
    assert (together[0].bound, together[0].survives, together[0].ahead) == (True, False, 5)
    for executor, size in (("shares", 1), ("shares of 8 processes", 8)):
        found = list(executors.crews(here, executor, 16))
        assert [share for _, share, _ in found] == [Share(n, 16 // size) for n in range(16 // size)]
        assert [worker for _, _, own in found for worker in own] == [*range(16)]
        assert all(crew.bound and not crew.survives for crew, _, _ in found)


def test_all_executors_take_the_sum_of_one_worker_and_no_less_than_the_ideal():
    here = world(30)
    for executor in executors.EXECUTORS:
        one = executors.stage_0(here, executor, 1, CASES[0], 0)
        assert one.times_ideal == pytest.approx(1.0, abs=0.05)
        many = executors.stage_0(here, executor, 16, CASES[3], 0)
        assert many.times_ideal > 1 and 0 <= many.waiting <= 1


def test_the_reader_is_the_bound_from_where_it_is_said():
    here = replace(world(400, cores=1000), rates=replace(RATES, read=2e-3))
    bound = executors.limits(here)["one reader"]
    assert bound == pytest.approx(2.0 / (100 * (2e-3 + 1e-6)))
    few, many = (executors.stage_0(here, "processes", n, CASES[0], 0) for n in (1, 80))
    assert bound > 8 and bound * 8 < 80
    assert few.times_ideal < 1.01 and few.reading_hours < 0.11 * few.hours
    assert many.hours == pytest.approx(400 * 100 * (2e-3 + 1e-6) / 3600, rel=0.04)


def test_parts_of_stage_1_take_least_time_where_search_and_merging_are_equal():
    from m3eval.config import Setup, compose
    from m3eval.stages import planning

    plan = planning.plan(Setup(compose("benchmark=miracl", "encoder=bge_m3")), published=True)
    found = {each.parts: each for each in growth.stage_1(plan, RATES, 8)}
    assert found[1].merging == 0 and found[64].seconds > found[8].seconds < found[1].seconds
    # Every query has depth lines of every part, of dense and of sparse; few corpora are that large.
    queries = sum(each.queries for each in plan.searches)
    assert found[2].gigabytes == pytest.approx(2 * 2 * queries * 1000 * 45 / 1e9, rel=0.02)
    paper = growth.paper(plan, RATES, 1e6)
    assert paper["TB of dense"] == pytest.approx(2.048) and paper["shards"] == 50_000
    assert paper["hours of one reader"] == pytest.approx(1e9 * 2.1e-5 / 3600)


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    rates, output = tmp_path / "rates.json", tmp_path / "out.json"
    rates.write_text(json.dumps({"rates": asdict(RATES)}))
    words = ["--tiny", "--seeds", "2", "--workers", "1", "64", "--rates", str(rates)]
    monkeypatch.setattr("sys.argv", ["simulation", *words, "--output", str(output)])
    simulation.main()
    report = json.loads(output.read_text())
    # Of 131,924 and 49,043 documents, and two sets of queries.
    assert report["shards"] == 7 + 3 + 2 and report["files"] == 6 * 12
    assert [len(each["outcomes"]) for each in report["stage_0"]] == [4 * (3 + 4)] * 2
    assert f"written {output}" in capsys.readouterr().out


def test_results_are_of_the_rates_that_lie_beside_them():
    results = Path(simulation.ROOT) / "results/bench"
    report = json.loads((results / "simulation.json").read_text())
    for each in report["stage_0"]:
        assert {outcome["workers"] for outcome in each["outcomes"]} == {*simulation.WORKERS}
    assert report["shards"] == 5344
    assert json.loads((results / "rates.json").read_text())["rates"].keys() == asdict(RATES).keys()
