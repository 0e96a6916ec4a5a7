"""Dense search: m3eval over a store on disk against faiss and torch over the same data in RAM.

    python -m bench.dense             20,000 and 200,000 documents, 500 queries (half an hour)
    python -m bench.dense --quick     20,000 documents, 200 queries; writes only with --output
    python -m bench.dense --documents 2000000     other sizes, where memory holds them twice

Vectors are random, of length 1, with 384 and 1,024 dimensions, and stored in float16. All
contenders have one thread (`--threads`), and seconds are the processor's, which other processes
disturb less; the first call of each is not counted.

- `ours` opens the store (which the system has cached since the first call) and searches it for rows
  and scores.
- `faiss` is IndexFlatIP.search, `torch` a matrix product and topk. Both hold float32 in RAM, and
  building that is not counted.
- `ours, whole` is stage 1's search as it is called: from opening the stores to a run with docids.
- `names` is the last part of it: from rows and scores to a run.

`cpu_seconds` are for all queries, top 1000; `times_as_long_as_torch` and `..._as_faiss` compare
calls made one after the other (median, min, max). `recall_against_float64` and
`largest_error_of_a_score` compare the lists of 50 queries with a brute force in float64. `memory`
is the peak of a process that does nothing but `ours, whole`. Writes results/bench/dense.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bench.machine import machine
from bench.measure import ROOT, in_turn, peak, ratio, resident, say, spread
from bench.stores import SHARD, sources, write
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.retrievers import dense
from m3eval.retrievers.run import Run
from m3eval.runtime import Runtime, settle
from m3eval.stores.store import Store

WIDTHS, DEPTH = (384, 1024), 1000
CHECKED = 50  # queries whose lists are compared with a brute force
AT_MOST = 1.1  # times as long as torch


def vectors(number: int, n: int, seed: int, width: int) -> Representations:
    """[n, width] random dense vectors of length 1, the same at every call for a seed and number."""
    rng = np.random.default_rng(seed + number)
    dense_vectors = rng.standard_normal((n, width), dtype=np.float32)
    dense_vectors /= np.linalg.norm(dense_vectors, axis=1, keepdims=True)
    return Representations(dense=dense_vectors)


def whole(folder: Path, runtime: Runtime) -> Run:
    """Searches as stage 1 does, from opening the stores to the run."""
    return dense.search(sources(folder, runtime), DEPTH)


def recall(run: Run, queries: np.ndarray, documents: np.ndarray) -> tuple[float, float]:
    """Compares the first lists with a brute force in float64.

    Args:
        run: the lists, in the order of the queries.
        queries: [q, d] float32.
        documents: [n, d] float32.

    Returns:
        The share of the brute force's best documents that the lists have, and the largest error of
        a score.
    """
    shares, errors = [], []
    for query, ranking in zip(queries[:CHECKED].astype(np.float64), run.values(), strict=False):
        blocks = np.array_split(documents, 20)
        scores = np.concatenate([block.astype(np.float64) @ query for block in blocks])  # [n]
        rows = np.array([int(docid[1:]) for docid in ranking.docids])
        shares.append(len(np.intersect1d(rows, np.argpartition(scores, -DEPTH)[-DEPTH:])) / DEPTH)
        errors.append(np.abs(scores[rows] - ranking.scores).max())
    return float(np.mean(shares)), float(np.max(errors))


def measure(folder: Path, repetitions: int, runtime: Runtime) -> dict[str, Any]:
    """Times all contenders on the stores in `folder`."""
    store = Store(folder / "corpus")
    queries = Store(folder / "queries").dense(np.arange(len(Store(folder / "queries"))))
    documents = np.concatenate([block.astype(np.float32) for _, block in store.dense_blocks(SHARD)])
    share, error = recall(whole(folder, runtime), queries, documents)
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(documents)
    matrix, asked = torch.from_numpy(documents), torch.from_numpy(queries)
    top = dense.best_whole(asked, store, DEPTH, runtime.search_block)
    qids = [f"q{number}" for number in range(len(queries))]
    seconds = in_turn(
        {
            "ours": lambda: dense.best_whole(
                asked, Store(folder / "corpus"), DEPTH, runtime.search_block
            ),
            "faiss": lambda: index.search(queries, DEPTH),
            "ours, whole": lambda: whole(folder, runtime),
            "torch": lambda: (asked @ matrix.T).topk(DEPTH),
            "names": lambda: top.run(qids, store.ids_of),
        },
        repetitions,
        time.process_time,
    )
    return {
        "documents": len(store),
        "dimensions": documents.shape[1],
        "queries": len(queries),
        "depth": DEPTH,
        "repetitions": repetitions,
        "recall_against_float64": share,
        "largest_error_of_a_score": float(f"{error:.3g}"),
        "cpu_seconds": {name: spread(values) for name, values in seconds.items()},
    } | {
        f"times_as_long_as_{peer}": {
            name: ratio(seconds[name], seconds[peer]) for name in ("ours", "ours, whole", "names")
        }
        for peer in ("torch", "faiss")
    }


def case(size: int, width: int, queries: int, repetitions: int, runtime: Runtime) -> dict[str, Any]:
    """Writes stores, measures over them, and prints."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make = partial(vectors, width=width)
        write(folder / "corpus", size, "d", "dense", partial(make, seed=1000))
        write(folder / "queries", queries, "q", "dense", partial(make, seed=1))
        words = ["--threads", str(runtime.threads), "--alone", str(folder)]
        memory = peak(["-m", "bench.dense", *words])
        measured = measure(folder, repetitions, runtime)
    say(f"\n{size:,} documents x {width}, {queries} queries, {runtime.threads} thread(s)")
    for what in ("cpu_seconds", "times_as_long_as_torch", "times_as_long_as_faiss"):
        for name, value in measured[what].items():
            shown = "{median:g} ({min:g}-{max:g})".format(**value)
            say(f"  {what.replace('_', ' ')}, {name}: {shown}")
    say(
        f"  recall {measured['recall_against_float64']:.5f}, "
        f"largest error of a score {measured['largest_error_of_a_score']:.1e}"
    )
    say(f"  peak {memory['peak_gib']} GiB, of which libraries {memory['libraries_gib']}")
    return measured | {"memory": memory}


def main() -> None:
    """Measures, compares and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--documents", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    # The process whose memory is measured is started with it.
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runtime = settle("cpu", "fp32", options.threads, "auto", SHARD, 50_000)
    runtime.set_up_torch()
    faiss.omp_set_num_threads(runtime.threads)
    if options.alone:
        before = resident()
        whole(options.alone, runtime)
        say(json.dumps({"libraries_gib": before}))
        return
    sizes, queries, rounds = options.documents, options.queries, options.rounds
    if options.quick:
        sizes, queries, rounds = [20_000], 200, 3
    with threadpool_limits(runtime.threads):
        # Small ones first: the memory of a child that starts is that of its parent.
        cases = [
            case(size, width, queries, rounds, runtime)
            for size in sorted(sizes)
            for width in WIDTHS
        ]
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "dense.json"
    )
    if output:
        report = {"what": __doc__, "threads": runtime.threads, "must_be_at_most": AT_MOST}
        write_json(output, report | {"cases": cases, "machine": machine()})


if __name__ == "__main__":
    main()
