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
`sparse` are stage 1's search as it is called, from opening the stores to a run. `ivf` is
`retriever.dense.engine=ivf`: lists are made of the same store, and queries look into several
numbers of them, the default among them; recall is against the lists of `exact`. Memory is the peak
of the resident size less what the interpreter and the libraries took before. Writes
results/bench/scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import sparse as sparse_bench
from bench.machine import machine
from bench.measure import ROOT, peak, resident, say
from bench.stores import SHARD, sources, write
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.retrievers import dense, ivf, ivf_sizes, sparse
from m3eval.retrievers.run import Run
from m3eval.runtime import Runtime, settle
from m3eval.stores.store import Store

DEPTH, TERMS, CUTOFFS = 1000, 63, (10, 100, 1000)
PROBES = (16, 64, 128)
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
    np.save(folder / FOUND, np.array(_rows(run)))
    return {"cpu_seconds": round(seconds, 2)}


def lexical(folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Searches as stage 1 does."""
    started = time.process_time()
    sparse.search(sources(folder / "sparse", runtime), DEPTH, "native", "none", False)
    return {"cpu_seconds": round(time.process_time() - started, 2)}


def approximate(folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Builds lists as stage 1 does, and looks up in several numbers of them."""
    world = sources(folder / "dense", runtime)
    corpus, truth = world.corpus, np.load(folder / FOUND)
    queries = world.queries.dense(np.arange(len(truth)))
    lists = ivf_sizes.lists_for(len(corpus), None)
    with ivf.one_core_each(1) as pool:
        started = time.process_time()
        index = ivf.build(corpus, lists, world.scratch, pool)
        figures: dict[str, Any] = {"lists": lists, "build_cpu_seconds": _since(started)}
        figures["probes"] = {}
        default = ivf_sizes.probes_for(len(corpus), DEPTH, lists, None)
        for probes in sorted({*PROBES, default}):
            started = time.process_time()
            top = ivf.look_up(index, probes, queries, corpus, DEPTH, pool)
            rows = _rows(top.run(world.queries.ids, corpus.ids_of))
            seconds = _since(started)
            recalls = {f"recall@{k}": _recall(rows, truth, k) for k in CUTOFFS}
            pays = ivf_sizes.break_even(len(corpus), DEPTH, lists, probes)
            of_probes = {"cpu_seconds": seconds, "foreseen_break_even": pays}
            figures["probes"][str(probes)] = of_probes | recalls
    return figures


def _rows(run: Run) -> list[np.ndarray]:
    return [np.array([int(docid[1:]) for docid in ranking.docids]) for ranking in run.values()]


def _since(started: float) -> float:
    return round(time.process_time() - started, 2)


def _recall(rows: Sequence[np.ndarray], truth: np.ndarray, k: int) -> float:
    """The mean share of the first `k` true rows that are among the first that were found."""
    shares = [len(np.intersect1d(a[:k], b[:k])) / k for a, b in zip(rows, truth, strict=True)]
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
