"""Dense search: ours over a store on disk against faiss's IndexFlatIP and torch over the same data in RAM.

    python -m bench.dense             200,000 documents of 1,024 dimensions, 500 queries, top 1000 (about 3 minutes on 2 cores)
    python -m bench.dense --quick     20,000 documents, 200 queries; writes only with --output

Vectors are random and of length 1, stored in float16. Each second is of search alone: faiss's index and torch's matrix are
built before and hold float32; ours reads the store on disk (cached by the system after the first call), from opening it to rows
and scores; `ours, whole` is stage 1's search as it is called, with docids in the one order of documents. All have the same
number of threads. A first call of each is not counted. The lists of 50 queries are held against a brute force in float64.
Ratios are over calls made in turn: median, smallest and largest. Peak memory is that of a process which does nothing but
`whole`. Writes results/bench/dense.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from bench.machine import machine
from bench.measure import ROOT, in_turn, peak, ratio, resident, say, spread
from m3eval.benchmarks.texts import TextSet
from m3eval.encoders.representations import Representations
from m3eval.files import write_json
from m3eval.retrievers import dense
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.runtime import Runtime, settle
from m3eval.stores.store import Store
from m3eval.stores.writer import StoreWriter

WIDTH, DEPTH, SHARD, CHECKED = 1024, 1000, 20_000, 50
AT_MOST = 1.3  # times as long as faiss


def write(path: Path, n: int, prefix: str, seed: int) -> None:
    """A store as stage 0 leaves it."""
    writer = StoreWriter(path, {"texts": {"count": n}, "representations": ["dense"], "encoder": {}})
    writer.start()
    for i, start in enumerate(range(0, n, SHARD)):
        vectors = np.random.default_rng(seed + i).standard_normal(
            (min(SHARD, n - start), WIDTH), dtype=np.float32
        )
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = [f"{prefix}{row}" for row in range(start, start + len(vectors))]
        writer.write(i, ids, Representations(vectors, None, None, 0, 0))
    writer.finish()


def whole(folder: Path, runtime: Runtime) -> Run:
    """Stage 1's search, from opening the stores to the run."""
    texts = [
        TextSet(name, role, None, 0)
        for name, role in (("corpus", "document"), ("queries", "query"))
    ]
    open_store = lambda it: Store(folder / it.name)  # noqa: E731
    return dense.search(
        Sources("xx", "xx", *texts, open_store, {}.__getitem__, None, runtime, folder / "scratch"),
        DEPTH,
    )


def recall(run: Run, queries: np.ndarray, documents: np.ndarray) -> tuple[float, float]:
    """Share of the best documents of a float64 brute force that the first lists have, and the largest error of a score."""
    shares, errors = [], []
    for query, ranking in zip(queries[:CHECKED].astype(np.float64), run.values(), strict=False):
        scores = np.concatenate(
            [block.astype(np.float64) @ query for block in np.array_split(documents, 20)]
        )
        rows = np.array([int(docid[1:]) for docid in ranking.docids])
        shares.append(len(np.intersect1d(rows, np.argpartition(scores, -DEPTH)[-DEPTH:])) / DEPTH)
        errors.append(np.abs(scores[rows] - ranking.scores).max())
    return float(np.mean(shares)), float(np.max(errors))


def measure(folder: Path, repetitions: int, runtime: Runtime) -> dict[str, Any]:
    """All forms over one corpus, which is on disk."""
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
    parser.add_argument(
        "--alone", type=Path, help=argparse.SUPPRESS
    )  # the process whose memory is measured
    options = parser.parse_args()
    runtime = settle("cpu", "fp32", options.threads or "auto", "auto", SHARD, 50_000)
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
        write(folder / "corpus", documents, "d", 1000)
        write(folder / "queries", queries, "q", 1)
        # While this process is small: see `peak`.
        memory = peak(
            ["-m", "bench.dense", "--threads", str(runtime.threads), "--alone", str(folder)]
        )
        found = measure(folder, repetitions, runtime)
    say(
        f"{documents:,} documents x {WIDTH}, {queries} queries, {runtime.threads} threads, top {DEPTH}; median (min-max)"
    )
    for what in ("seconds", "times_as_long_as_faiss"):
        for name, value in found[what].items():
            say(
                f"  {what.replace('_', ' ')}, {name}: "
                + "{median:g} ({min:g}-{max:g})".format(**value)
            )
    say(
        f"  recall {found['recall_against_float64']:.5f}, largest error of a score {found['largest_error_of_a_score']:.1e}"
    )
    say(f"  peak {memory['peak_gib']} GiB, of which libraries {memory['libraries_gib']}")
    report = {
        "what": __doc__,
        "threads": runtime.threads,
        "must_be_at_most": AT_MOST,
        "measured": found | {"memory": memory},
    }
    if output:
        write_json(output, report | {"machine": machine()})


if __name__ == "__main__":
    main()
