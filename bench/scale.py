"""Search past one machine's usual size: exact and approximate dense search, and sparse search.

    python -m bench.scale --stores OUTPUT/miracl_tydi/e5_small_q4/stores --language sw
    python -m bench.scale --stores ... --language sw --documents 100000 --queries 100

Stores are written with 2,000,000 documents of 384 dimensions in float16, and of 60 terms; 1,000
queries ask for 1,000 documents each. Dense vectors are like an encoder's own: `--stores` are those
of a real stage 0. A vector is made of a real one, drawn at random, and of noise with the covariance
of all real ones, in equal parts of the variance, about their mean, and is brought to length 1. So
means and covariances stay those of the encoder, of documents and of queries each by themselves.
Terms are those of `bench.sparse`.

Each engine searches in a process of its own with one thread, and CPU seconds are told. `exact` and
`sparse` are stage 1's search as it is called, from opening the stores to a run. `ivf` is faiss'
IVF2048,SQ8 in memory, which is trained on 40 documents a list and filled from the same store; its
recall is against the lists of `exact`. Memory is the peak of the resident size less what the
interpreter and the libraries took before. Writes results/bench/scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench import sparse as sparse_bench
from bench.machine import machine
from bench.measure import ROOT, peak, resident, say
from bench.stores import SHARD, sources, write
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.retrievers import dense, sparse
from m3eval.runtime import Runtime, settle
from m3eval.stores.store import Store

DEPTH, TERMS, CUTOFFS = 1000, 63, (10, 100, 1000)
LISTS, OF_A_LIST, PROBES = 2048, 40, (16, 64, 128)
BLOCK = 50_000  # documents that are searched at once, as conf/runtime/auto.yaml has it
FOUND = "exact.npy"  # the rows that exact search found: [q, DEPTH] int64


class Alike:
    """Makes vectors like those of a real store."""

    def __init__(self, store: Store) -> None:
        """Reads them all."""
        self.real = store.dense(np.arange(len(store)))  # [n, d]
        self.mean = self.real.mean(0)
        values, axes = np.linalg.eigh(np.cov(self.real.T))
        self.spread = (axes * np.sqrt(values.clip(0))).T.astype(np.float32)  # [d, d]

    def make(self, number: int, n: int, seed: int) -> Representations:
        """[n, d] vectors of length 1, the same at every call for a seed and number."""
        rng = np.random.default_rng([seed, number])
        drawn = self.real[rng.integers(0, len(self.real), n)] - self.mean
        noise = rng.standard_normal((n, len(self.spread)), dtype=np.float32) @ self.spread
        made = self.mean + np.sqrt(np.float32(0.5)) * (drawn + noise)
        return Representations(dense=made / np.linalg.norm(made, axis=1, keepdims=True))


def exact(folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Searches as stage 1 does, and keeps what was found."""
    started = time.process_time()
    run = dense.search(sources(folder / "dense", runtime), DEPTH)
    seconds = time.process_time() - started
    rows = [[int(docid[1:]) for docid in ranking.docids] for ranking in run.values()]
    np.save(folder / FOUND, np.array(rows))
    return {"cpu_seconds": round(seconds, 2)}


def lexical(folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Searches as stage 1 does."""
    started = time.process_time()
    sparse.search(sources(folder / "sparse", runtime), DEPTH, "native", "none", False)
    return {"cpu_seconds": round(time.process_time() - started, 2)}


def approximate(folder: Path, _: Runtime) -> dict[str, Any]:
    """Builds lists of a store, and searches them with several numbers of probes."""
    faiss.omp_set_num_threads(1)
    corpus, asked = Store(folder / "dense/corpus"), Store(folder / "dense/queries")
    queries, truth = asked.dense(np.arange(len(asked))), np.load(folder / FOUND)
    lists = min(LISTS, len(corpus) // OF_A_LIST)
    started = time.process_time()
    sample = np.linspace(0, len(corpus) - 1, lists * OF_A_LIST).astype(np.int64)
    index = faiss.index_factory(queries.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.dense(sample))
    for _, block in corpus.dense_blocks(SHARD):
        index.add(np.asarray(block, np.float32))
    figures: dict[str, Any] = {"lists": lists, "build_cpu_seconds": _since(started), "probes": {}}
    for probes in PROBES:
        index.nprobe = min(probes, lists)
        started = time.process_time()
        _, rows = index.search(queries, DEPTH)
        seconds = _since(started)
        recalls = {f"recall@{k}": _recall(rows[:, :k], truth[:, :k]) for k in CUTOFFS}
        figures["probes"][str(probes)] = {"cpu_seconds": seconds} | recalls
    return figures


def _since(started: float) -> float:
    return round(time.process_time() - started, 2)


def _recall(rows: np.ndarray, truth: np.ndarray) -> float:
    """The mean share of the true rows that were found."""
    shares = [len(np.intersect1d(*pair)) / truth.shape[1] for pair in zip(rows, truth, strict=True)]
    return round(float(np.mean(shares)), 4)


ENGINES = {"exact": exact, "ivf": approximate, "sparse": lexical}


def alone(folder: Path, engine: str) -> None:
    """What a process that is measured does: prints its figures."""
    runtime = settle("cpu", "fp32", 1, "auto", SHARD, BLOCK)
    runtime.set_up_torch()
    before = resident()
    figures = ENGINES[engine](folder, runtime)
    say(json.dumps(figures | {"libraries_gib": before}))


def write_stores(options: argparse.Namespace) -> None:
    """Writes all stores: in a process of its own, for `peak` counts what its parent holds."""
    for what, n, seed in (("corpus", options.documents, 1), ("queries", options.queries, 2)):
        letter = {"corpus": "d", "queries": "q"}[what]
        like = Alike(Store(options.stores / f"{what}-{options.language}"))
        dense_folder, sparse_folder = (options.alone / name / what for name in ("dense", "sparse"))
        write(dense_folder, n, letter, "dense", partial(like.make, seed=seed))
        terms = TERMS if what == "corpus" else sparse_bench.QUERY_TERMS
        make = partial(sparse_bench.representations, terms=terms, seed=1000 * seed)
        write(sparse_folder, n, letter, "sparse", make)
    say("{}")


def measure(folder: Path, engine: str) -> dict[str, Any]:
    """Measures an engine in a process of its own, and prints."""
    figures = peak(["-m", "bench.scale", "--alone", str(folder), "--engine", engine])
    figures["own_gib"] = round(figures["peak_gib"] - figures["libraries_gib"], 3)
    say(f"{engine}: {json.dumps(figures)}")
    return figures


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stores", type=Path, help="the folder of a real stage 0's stores")
    parser.add_argument("--language", default="sw")
    parser.add_argument("--documents", type=int, default=2_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/scale.json")
    # A process that is measured is started with these.
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        alone(options.alone, options.engine)
        return
    if options.stores is None:
        parser.error("--stores=FOLDER is needed: the stores of a stage 0")
    if options.alone:
        write_stores(options)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are measured
    with tempfile.TemporaryDirectory() as temporary:
        peak(["-m", "bench.scale", "--alone", temporary, *sys.argv[1:]])
        figures = {engine: measure(Path(temporary), engine) for engine in ENGINES}
    sizes = {"documents": options.documents, "queries": options.queries, "depth": DEPTH}
    write_json(options.output, {"what": __doc__} | sizes | figures | {"machine": machine()})


if __name__ == "__main__":
    main()
