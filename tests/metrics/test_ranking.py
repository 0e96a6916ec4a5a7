"""Ranking metrics against trec_eval's own test files and against values computed by hand."""

import math
import re

import numpy as np
import pytest

from m3eval.errors import UserError
from m3eval.metrics.names import parse
from m3eval.metrics.ranking import by_documents
from m3eval.retrievers.run import Ranking, ranked, read_run

RUN = {
    "q1": Ranking(["d3", "d1", "d2"], np.array([3, 2, 1], np.float32)),
    "q2": Ranking(["d9"], np.array([1], np.float32)),
    "unjudged": Ranking(["d1"], np.array([1], np.float32)),
}
QRELS = {"q1": {"d1": 2, "d2": 1, "d3": 0, "d4": 1}, "q2": {"d1": 1}, "missing": {"d1": 1}}


def scores(metric, run=RUN, qrels=QRELS):
    return by_documents(run, qrels, [parse(metric)])[metric]


def test_by_hand():
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    ndcg = (2 / math.log2(3) + 1 / math.log2(4)) / ideal
    assert scores("nDCG@10") == pytest.approx({"q1": ndcg, "q2": 0, "missing": 0})
    assert scores("R@2") == pytest.approx({"q1": 1 / 3, "q2": 0, "missing": 0})
    assert scores("P@2")["q1"] == pytest.approx(1 / 2)
    assert scores("RR@10")["q1"] == scores("RR")["q1"] == pytest.approx(1 / 2)
    assert scores("RR@1")["q1"] == 0
    assert scores("AP")["q1"] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert scores("Success@1")["q1"] == 0 and scores("Success@5")["q1"] == 1


def test_metrics_together_are_what_each_is_alone_and_rr_is_that_of_cut_lists():
    rng = np.random.default_rng(0)
    docids = [f"d{i}" for i in range(60)]
    run = {
        f"q{i}": ranked(docids, rng.integers(0, 9, 60).astype(np.float32), 50) for i in range(30)
    } | {"empty": Ranking([], np.empty(0, np.float32))}
    qrels = {
        f"q{i}": {docid: int(rng.integers(-1, 3)) for docid in rng.choice(docids, 6, False)}
        for i in range(-2, 30)
    } | {"empty": {"d1": 1}}
    names = [*NAMES.values(), "RR@1", "RR@3", "RR@10", "RR@49", "RR@1000", "nDCG@7"]
    together = by_documents(run, qrels, [parse(name) for name in names])
    assert [*together] == names
    for name in names:
        assert together[name] == scores(name, run, qrels)
    for k in (1, 3, 10, 49, 1000):
        cut = {qid: ranking.head(k) for qid, ranking in run.items()}
        assert together[f"RR@{k}"] == scores("RR", cut, qrels)
    assert 0 < np.mean([*together["RR@3"].values()]) < np.mean([*together["RR"].values()])


def test_means_are_over_all_judged_queries():
    # One that the run lacks counts 0, one without judgements nowhere.
    assert set(scores("R@2")) == set(QRELS)


@pytest.mark.parametrize(
    "name", ["nDCG@10", "R@100", "RR@10", "AP", "nDCG", "P@5", "Success@20", "AP@100", "RR"]
)
def test_names_parse_back(name):
    assert str(parse(name)) == name


@pytest.mark.parametrize(
    "name", ["ndgc@10", "R", "nDCG@0", "nDCG@", "ERR@10", "P", "recall", "nDCG@10 ", "at_10", ""]
)
def test_other_names_are_refused_with_the_list(name):
    with pytest.raises(UserError, match=r"write nDCG@k, R@k"):
        parse(name)


def expected(path, measures):
    """trec_eval's printed values: qid -> its name -> value."""
    found = {}
    for line in path.read_text().splitlines():
        name, qid, value = re.split(r"\s+", line.strip(), maxsplit=2)
        if name in measures:
            found.setdefault(qid, {})[name] = float(value)
    return found


NAMES = {
    "map": "AP",
    "recip_rank": "RR",
    "ndcg": "nDCG",
    **{f"P_{k}": f"P@{k}" for k in (5, 10, 100, 1000)},
    **{f"recall_{k}": f"R@{k}" for k in (5, 100, 1000)},
    **{f"ndcg_cut_{k}": f"nDCG@{k}" for k in (5, 10, 20, 100, 1000)},
    **{f"map_cut_{k}": f"AP@{k}" for k in (10, 100)},
    **{f"success_{k}": f"Success@{k}" for k in (1, 5, 10)},
}


@pytest.mark.parametrize(
    ("output", "run", "depth"),
    [
        ("out.test.aq", "results.test", 10**6),
        ("out.test.aqc", "results.trunc", 10**6),
        ("out.test.aqcM", "results.trunc", 100),
    ],
)
def test_trec_evals_own_files(shared, tmp_path, output, run, depth):
    """Per query and mean, all queries (-c), cut lists (-M 100), to the four digits printed."""
    from m3eval.benchmarks.qrels import read_qrels

    folder = shared / "trec_eval_tests"
    clean = tmp_path / "run"  # one of the files has junk behind the tag
    clean.write_text(
        "".join(
            "\t".join(line.split()[:6]) + "\n" for line in (folder / run).read_text().splitlines()
        )
    )
    lists = {qid: ranked(r.docids, r.scores, depth) for qid, r in read_run(clean).items()}
    qrels = read_qrels(folder / "qrels.test")
    found = by_documents(lists, qrels, [parse(name) for name in NAMES.values()])
    gold = expected(folder / output, NAMES)
    assert set(gold) == {"301", "302", "303", "all"}
    for qid, values in gold.items():
        for name, value in values.items():
            per_query = found[NAMES[name]]
            got = np.mean(list(per_query.values())) if qid == "all" else per_query[qid]
            assert got == pytest.approx(value, abs=5.1e-5), (qid, name)
