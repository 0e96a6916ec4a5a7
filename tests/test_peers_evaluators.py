"""One run of ours, scored by the evaluators of others: FlagEmbedding's, trec_eval's and ranx's.

docs/protocol.md tells where they would differ, and why.
"""

from __future__ import annotations

import csv
from importlib import import_module

import datasets
import numpy as np
import pytest
import pytrec_eval
import torch

from bench.flagembedding import flagembedding
from m3eval.benchmarks.qrels import read_qrels
from m3eval.metrics.judge import DocumentJudgements, judge
from m3eval.metrics.names import parse
from m3eval.retrievers.run import ranked, read_run
from m3eval.stores.store import Store
from tests.needs import needs

pytestmark = pytest.mark.slow
OURS = ["nDCG@10", "nDCG@100", "AP", "R@10", "R@100", "P@10", "RR@10"]


@pytest.fixture(scope="module")
def evaluated(pipeline_in, mirror, tmp_path_factory):
    """Runs of all kinds of retrievers, judgements, and the scores of every query."""
    words = ["benchmark.metrics=[" + ",".join(OURS) + "]", "languages=[sw]"]
    outputs = tmp_path_factory.mktemp("peers")
    folder = pipeline_in(outputs)(*words, "retriever=[dense,sparse,multi_vector,dense_sparse,all]")
    topics = mirror / "miracl/miracl/miracl-v1.0-sw/qrels"
    qrels = read_qrels(topics / "qrels.miracl-v1.0-sw-dev.tsv")
    runs = {
        path.parent.name: {
            qid: dict(zip(ranking.docids, map(float, ranking.scores), strict=True))
            for qid, ranking in read_run(path).items()
        }
        for path in sorted(folder.glob("runs/*/sw.trec"))
    }
    with (folder / "scores/per_query.csv").open() as file:
        rows = list(csv.DictReader(file))
    return runs, {qid: dict(grades) for qid, grades in qrels.items()}, rows


def evaluation():
    """FlagEmbedding's module of metrics and search."""
    flagembedding()
    return import_module("FlagEmbedding.abc.evaluation.utils")


def mean(rows, retriever: str, metric: str) -> float:
    return float(np.mean([float(row[metric]) for row in rows if row["retriever"] == retriever]))


RETRIEVERS = ["dense", "sparse", "multi_vector", "dense_sparse", "all"]
TREC = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG@100": "ndcg_cut_100",
    "AP": "map",
    "R@10": "recall_10",
    "R@100": "recall_100",
    "P@10": "P_10",
}
RANX = {
    "nDCG@10": "ndcg@10",
    "nDCG@100": "ndcg@100",
    "AP": "map",
    "R@10": "recall@10",
    "R@100": "recall@100",
    "P@10": "precision@10",
    "RR@10": "mrr@10",
}


@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_trec_eval_gives_every_query_the_same(evaluated, retriever):
    runs, qrels, rows = evaluated
    measures = {"ndcg_cut.10,100", "map", "recall.10,100", "P.10"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(runs[retriever])
    ours = [row for row in rows if row["retriever"] == retriever]
    assert len(ours) == len(qrels) == 9
    for row in ours:
        for metric, name in TREC.items():
            assert float(row[metric]) == pytest.approx(theirs[row["qid"]][name], abs=2e-6)


@needs("FlagEmbedding")
@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_flagembedding_s_evaluation_gives_the_same_means(evaluated, retriever):
    """To the five decimals that it rounds to."""
    theirs = evaluation()
    runs, qrels, rows = evaluated
    ndcg, _, recall, precision = theirs.evaluate_metrics(qrels, runs[retriever], [10, 100])
    mrr = theirs.evaluate_mrr(qrels, runs[retriever], [10])
    for metric, value in (
        ("nDCG@10", ndcg["NDCG@10"]),
        ("nDCG@100", ndcg["NDCG@100"]),
        ("R@10", recall["Recall@10"]),
        ("R@100", recall["Recall@100"]),
        ("P@10", precision["P@10"]),
        ("RR@10", mrr["MRR@10"]),
    ):
        assert mean(rows, retriever, metric) == pytest.approx(value, abs=1e-5), metric


@needs("FlagEmbedding")
def test_flagembedding_s_means_leave_out_queries_that_a_run_lacks(evaluated):
    """Ours count them 0, as `trec_eval -c` does."""
    runs, qrels, _ = evaluated
    lacking = dict(list(runs["dense"].items())[1:])
    theirs = evaluation().evaluate_metrics(qrels, lacking, [10])[0]["NDCG@10"]
    run = {
        qid: ranked([*lists], np.array([*lists.values()]), 1000) for qid, lists in lacking.items()
    }
    (of_query,) = judge([run], DocumentJudgements(qrels), [parse("nDCG@10")])
    ours = [*of_query["nDCG@10"].values()]
    assert len(ours) == 9 == len(run) + 1
    assert np.mean(ours) == pytest.approx(theirs * 8 / 9, abs=1e-5)


@needs("ranx")
@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_ranx_gives_the_same_means(evaluated, retriever):
    import ranx

    runs, qrels, rows = evaluated
    theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(runs[retriever]), [*RANX.values()])
    for metric, name in RANX.items():
        assert mean(rows, retriever, metric) == pytest.approx(theirs[name], abs=2e-6), metric


@needs("FlagEmbedding")
def test_flagembedding_s_search_over_our_vectors_finds_the_same(evaluated, pipeline_in, tmp_path):
    """Its flat index of faiss, over the vectors of our stores: scores to 1e-6, and the same lists.

    Over vectors that were not rounded to float16 scores are others, by up to some 1e-4.
    """
    scores, peer = {}, evaluation()
    for kind in ("float16", "float32"):
        words = ["languages=[sw]", "retriever=[dense]", "representations=[dense]"]
        folder = pipeline_in(tmp_path / kind)(*words, f"store.dense.type={kind}")
        corpus, queries = (Store(folder / "stores" / name) for name in ("corpus-sw", "queries-sw"))
        vectors = corpus.dense(np.arange(len(corpus)))
        asked = queries.dense(np.arange(len(queries)))
        found, rows = peer.search(peer.index("Flat", vectors), len(corpus), asked)
        run = read_run(folder / "runs/dense/sw.trec")
        for qid, of_query, places in zip(queries.ids, found, rows, strict=True):
            theirs = {corpus.ids[row]: score for row, score in zip(places, of_query, strict=True)}
            ours = dict(zip(run[qid].docids, map(float, run[qid].scores), strict=True))
            assert ours == pytest.approx(theirs, abs=2e-6)
            scores.setdefault(qid, []).append(ours)
    apart = max(
        abs(half[docid] - whole[docid]) for half, whole in scores.values() for docid in half
    )
    assert 1e-6 < apart < 1e-3


class StoredVectors:
    """An encoder as mteb asks for one, that looks our stores' vectors up by the text."""

    def __init__(self, by_text: dict[str, np.ndarray]) -> None:
        self.by_text = by_text
        self.mteb_model_meta = import_module("mteb.models").ModelMeta.create_empty()

    def encode(self, inputs, **_) -> np.ndarray:
        return np.stack([self.by_text[text] for batch in inputs for text in batch["text"]])

    def similarity(self, queries, documents):
        return torch.as_tensor(queries) @ torch.as_tensor(documents).T

    def similarity_pairwise(self, queries, documents):
        return (torch.as_tensor(queries) * torch.as_tensor(documents)).sum(-1)


@needs("mteb")
def test_mteb_s_evaluator_over_our_vectors_gives_the_same_scores(evaluated, pipeline_in, tmp_path):
    """Its search and its measures, on a local task: to 1e-4, for it rounds to five decimals."""
    _, qrels, rows = evaluated
    words = ["languages=[sw]", "retriever=[dense]", "representations=[dense]"]
    folder = pipeline_in(tmp_path)(*words)
    corpus, queries = (Store(folder / "stores" / name) for name in ("corpus-sw", "queries-sw"))
    vectors = {
        f"{kind} {name}": vector
        for kind, store in (("document", corpus), ("query", queries))
        for name, vector in zip(store.ids, store.dense(np.arange(len(store))), strict=True)
    }
    texts = datasets.Dataset.from_list
    found = mteb_evaluator(
        texts([{"id": docid, "title": "", "text": f"document {docid}"} for docid in corpus.ids]),
        texts([{"id": qid, "text": f"query {qid}"} for qid in queries.ids]),
        StoredVectors(vectors),
    )
    run = read_run(folder / "runs/dense/sw.trec")
    for qid, lists in found[0].items():
        ours = dict(zip(run[qid].docids, map(float, run[qid].scores), strict=True))
        assert ours == pytest.approx(lists, abs=2e-6)
    _, ndcg, average, recall, precision, *_ = found[1](qrels, found[0], [10, 100])
    for metric, value in (
        ("nDCG@10", ndcg["NDCG@10"]),
        ("nDCG@100", ndcg["NDCG@100"]),
        ("R@100", recall["Recall@100"]),
        ("P@10", precision["P@10"]),
    ):
        assert mean(rows, "dense", metric) == pytest.approx(value, abs=1e-4), metric
    assert average["MAP@100"] > 0


def mteb_evaluator(documents, queries, encoder):
    """Lists by mteb's search, and the function that scores them."""
    mteb = import_module("mteb")
    evaluators = import_module("mteb._evaluators.retrieval_evaluator")
    wrappers = import_module("mteb.models.search_wrappers")
    evaluator = evaluators.RetrievalEvaluator(
        corpus=documents,
        queries=queries,
        task_metadata=mteb.get_task("SciFact").metadata,
        hf_split="test",
        hf_subset="default",
        top_k=1000,
        timer=import_module("mteb.timing").TimingStack(),
    )
    wrapped = wrappers.SearchEncoderWrapper(encoder)
    return evaluator(wrapped, encode_kwargs={"batch_size": 8}), evaluator.evaluate
