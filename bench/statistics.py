"""Metrics and tests of 400 queries: m3eval against trec_eval called once, and against scipy.

    python -m bench.statistics            11 rounds (a minute on a core)
    python -m bench.statistics --quick    one round; writes only with --output

Metrics are nDCG@10, R@100, AP and RR@10 of a run with 1,000 documents for each query. `ours` is
`metrics.by_documents`; `trec_eval, once` gives pytrec_eval's evaluator the same lists as dicts, and
its four measures at once, with RR of whole lists; `trec_eval, each` is an evaluator for each
measure.

The paired randomisation test has 10,000 resamples of 400 differences; `scipy` is its
`permutation_test` of the same statistic, which draws other patterns. Their p values must be near.

Seconds are the processor's, in one thread; contenders are called in turn. `times_as_long_as_ours`
compares calls made one after the other (median, min, max). Writes results/bench/statistics.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytrec_eval
from scipy import stats
from threadpoolctl import threadpool_limits

from bench.machine import machine
from bench.measure import ROOT, in_turn, ratio, say, spread
from m3eval.files import write_json
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import by_documents
from m3eval.metrics.significance import permutation_test
from m3eval.retrievers.run import Ranking, Run

QUERIES, DEPTH, JUDGED, RESAMPLES = 400, 1000, 8, 10_000
METRICS = [parse(name) for name in ("nDCG@10", "R@100", "AP", "RR@10")]
MEASURES = ("ndcg_cut.10", "recall.100", "map", "recip_rank")


def material() -> tuple[Run, dict[str, dict[str, int]]]:
    """A run, and judgements of which most are in it."""
    rng = np.random.default_rng(0)
    run: Run = {}
    for query in range(QUERIES):
        docids = [f"doc{row}" for row in rng.choice(10**6, DEPTH, replace=False).tolist()]
        run[f"q{query}"] = Ranking(docids, np.sort(rng.random(DEPTH).astype(np.float32))[::-1])
    return run, {
        qid: {ranking.docids[place]: 1 for place in rng.choice(DEPTH // 4, JUDGED).tolist()}
        for qid, ranking in run.items()
    }


def trec_eval(run: Run, qrels: dict[str, dict[str, int]], measures: set[str]) -> dict[str, Any]:
    """What pytrec_eval gives for measures."""
    lists = {
        qid: dict(zip(ranking.docids, ranking.scores.tolist(), strict=True))
        for qid, ranking in run.items()
    }
    return pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(lists)


def scipys_p(differences: np.ndarray) -> float:
    """Two-sided p of the same test."""
    return stats.permutation_test(
        (differences / np.abs(differences).max(),),
        lambda flipped, axis: flipped.sum(axis=axis).round(9),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1_000_000 // len(differences),
        rng=np.random.default_rng(0),
    ).pvalue


def compared(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """CPU seconds of each, and how many times as long as ours each took."""
    seconds = in_turn(contenders, rounds, time.process_time)
    report = {
        "cpu_seconds": {name: spread(values) for name, values in seconds.items()},
        "times_as_long_as_ours": {
            name: ratio(values, seconds["ours"])
            for name, values in seconds.items()
            if name != "ours"
        },
    }
    for name, value in report["cpu_seconds"].items():
        times = report["times_as_long_as_ours"].get(name, {"median": 1})["median"]
        say(f"  {name}: {1000 * value['median']:.1f} ms, {times} times as long as ours")
    return report


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    run, qrels = material()
    differences = np.random.default_rng(1).normal(0.02, 0.25, QUERIES)
    p = permutation_test([differences], RESAMPLES, 0), scipys_p(differences)
    if abs(p[0] - p[1]) > 0.03:
        raise SystemExit(f"p values differ: {p}")
    with threadpool_limits(1):
        say("metrics")
        metrics = compared(
            {
                "ours": lambda: by_documents(run, qrels, METRICS),
                "trec_eval, once": lambda: trec_eval(run, qrels, set(MEASURES)),
                "trec_eval, each": lambda: [trec_eval(run, qrels, {name}) for name in MEASURES],
            },
            rounds,
        )
        say("paired randomisation")
        randomisation = compared(
            {
                "ours": lambda: permutation_test([differences], RESAMPLES, 0),
                "scipy": lambda: scipys_p(differences),
            },
            rounds,
        )
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "statistics.json"
    )
    if output:
        report = {"what": __doc__, "rounds": rounds, "threads": 1, "metrics": metrics}
        report |= {"paired_randomisation": randomisation | {"p": {"ours": p[0], "scipy": p[1]}}}
        write_json(output, report | {"machine": machine()})
        say(f"written {output}")


if __name__ == "__main__":
    main()
