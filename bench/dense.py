"""Dense search: m3eval over a store on disk against faiss and torch over the same data in RAM.

    python -m bench.dense             200,000 documents, 500 queries (3 minutes on 2 cores)
    python -m bench.dense --quick     20,000 documents, 200 queries; writes only with --output

Vectors are random, of length 1, with 1,024 dimensions, and stored in float16. All contenders have
the same number of threads; the first call of each is not counted.

- `ours` opens the store (which the system has cached since the first call) and searches it for rows
  and scores.
- `ours, whole` is stage 1's search as it is called: from opening the stores to a run with docids.
- `faiss` is IndexFlatIP.search, `torch` a matrix product and topk. Both hold float32 in RAM, and
  building that is not counted.

`seconds` is wall-clock time for all queries, top 1000; `times_as_long_as_faiss` compares calls made
one after the other (median, min, max). `recall_against_float64` and `largest_error_of_a_score`
compare the lists of 50 queries with a brute force in float64. `memory` is the peak of a process
that does nothing but `ours, whole`. Writes results/bench/dense.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from bench.machine import machine
from bench.measure import ROOT, in_turn, peak, ratio, resident, say, spread
from bench.stores import SHARD, sources, write
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.retrievers import dense
from m3eval.retrievers.run import Run
from m3eval.runtime import Runtime, settle
from m3eval.stores.store import Store

WIDTH, DEPTH = 1024, 1000
CHECKED = 50  # queries whose lists are compared with a brute force
AT_MOST = 1.3  # times as long as faiss


def vectors(number: int, n: int, seed: int) -> Representations:
    """[n, WIDTH] random dense vectors of length 1, the same at every call for a seed and number."""
    rng = np.random.default_rng(seed + number)
    dense_vectors = rng.standard_normal((n, WIDTH), dtype=np.float32)
    dense_vectors /= np.linalg.norm(dense_vectors, axis=1, keepdims=True)
    return Representations(dense=dense_vectors)


def whole(folder: Path, runtime: Runtime) -> Run:
    """Searches as stage 1 does, from opening the stores to the run."""
    return dense.search(sources(folder, runtime), DEPTH)


def recall(run: Run, queries: np.ndarray, documents: np.ndarray) -> tuple[float, float]:
    """Compares the first lists with a brute force in float64.

    Args:
        run: the lists, in the order of the queries.
        queries: [q, WIDTH] float32.
        documents: [n, WIDTH] float32.

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
    index = faiss.IndexFlatIP(WIDTH)
    index.add(documents)
    matrix, asked = torch.from_numpy(documents), torch.from_numpy(queries)
    seconds = in_turn(
        {
            "ours": lambda: dense.best_whole(
                asked, Store(folder / "corpus"), DEPTH, runtime.search_block
            ),
            "faiss": lambda: index.search(queries, DEPTH),
            "ours, whole": lambda: whole(folder, runtime),
            "torch": lambda: (asked @ matrix.T).topk(DEPTH),
        },
        repetitions,
    )
    return {
        "documents": len(store),
        "dimensions": WIDTH,
        "queries": len(queries),
        "depth": DEPTH,
        "repetitions": repetitions,
        "recall_against_float64": share,
        "largest_error_of_a_score": float(f"{error:.3g}"),
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "times_as_long_as_faiss": {
            name: ratio(seconds[name], seconds["faiss"])
            for name in ("ours", "ours, whole", "torch")
        },
    }


def main() -> None:
    """Measures, compares and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path)
    # The process whose memory is measured is started with it.
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runtime = settle("cpu", "fp32", options.threads or "auto", "auto", SHARD, 50_000)
    runtime.set_up_torch()
    faiss.omp_set_num_threads(runtime.threads)
    if options.alone:
        before = resident()
        whole(options.alone, runtime)
        say(json.dumps({"libraries_gib": before}))
        return
    documents, queries, repetitions = (20_000, 200, 3) if options.quick else (200_000, 500, 11)
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "dense.json"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "corpus", documents, "d", "dense", partial(vectors, seed=1000))
        write(folder / "queries", queries, "q", "dense", partial(vectors, seed=1))
        # Before this process grows: see `peak`.
        memory = peak(
            ["-m", "bench.dense", "--threads", str(runtime.threads), "--alone", str(folder)]
        )
        measured = measure(folder, repetitions, runtime)
    say(
        f"{documents:,} documents x {WIDTH}, {queries} queries, {runtime.threads} threads, "
        f"top {DEPTH}; median (min-max)"
    )
    for what in ("seconds", "times_as_long_as_faiss"):
        for name, value in measured[what].items():
            shown = "{median:g} ({min:g}-{max:g})".format(**value)
            say(f"  {what.replace('_', ' ')}, {name}: {shown}")
    say(
        f"  recall {measured['recall_against_float64']:.5f}, "
        f"largest error of a score {measured['largest_error_of_a_score']:.1e}"
    )
    say(f"  peak {memory['peak_gib']} GiB, of which libraries {memory['libraries_gib']}")
    report = {
        "what": __doc__,
        "threads": runtime.threads,
        "must_be_at_most": AT_MOST,
        "measured": measured | {"memory": memory},
    }
    if output:
        write_json(output, report | {"machine": machine()})


if __name__ == "__main__":
    main()
