"""MaxSim of stored documents: m3eval against its own batches and three plain ways to write it.

    python -m bench.maxsim            500 documents a case, 7 rounds (10 minutes on a core)
    python -m bench.maxsim --quick    60 documents, one round; writes only with --output

Documents lie in a float16 file that is memory-mapped, 4 to 512 vectors each (log-normal, median
91); queries have 6 to 20. Cases are d 384 and 1024, with 2.3 and with 16 queries a document.
Everything runs in one thread; seconds are the processor's, taken in turn.

- `ours` is `late_interaction.maxsim` over slices of the file, 256 documents a time, as in stage 1.
- `batches` is what a CPU did before and an accelerator does: padded groups of documents.
- `product per document` converts a document's slice and multiplies it with its queries' vectors.
- `FlagEmbedding` is the maths of its `colbert_score`, pair by pair, without checks.
- `numpy` is a product of numpy's for each pair.

The last three have their queries in float32 before, and convert a document once for all of its
pairs, by torch's conversion, which is faster than numpy's. All scores must agree to 1e-5.
`times_as_long_as_ours` compares calls made one after the other (median, min, max). Writes
results/bench/maxsim.json.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bench.machine import machine
from bench.measure import ROOT, in_turn, ratio, say, spread
from m3eval.encoders.representations import Packed, Separate
from m3eval.files import write_json
from m3eval.retrievers import late_interaction
from m3eval.retrievers.candidates import Pairs
from m3eval.retrievers.document_vectors import STORED_AT_ONCE

WIDTHS, QUERIES_PER_DOCUMENT, QUERIES = (384, 1024), (2.3, 16.0), 200


@dataclass(frozen=True)
class Case:
    """Documents on disk, queries, and pairs of both."""

    stored: np.ndarray  # [vectors, d] float16, memory-mapped
    offsets: np.ndarray  # [documents + 1] int64
    queries: list[np.ndarray]  # [tokens, d] float16 each
    pairs: np.ndarray  # [n, 2] int64, by document

    def slices(self, documents: np.ndarray) -> list[np.ndarray]:
        """The vectors of some documents, where they lie."""
        return [self.stored[self.offsets[i] : self.offsets[i + 1]] for i in documents.tolist()]


def case(folder: Path, width: int, documents: int, per_document: float) -> Case:
    """Makes a case: random vectors of length 1, the same at every call."""
    rng = np.random.default_rng(width)
    lengths = np.clip(rng.lognormal(np.log(91), 0.75, documents), 4, 512).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    path = folder / f"{width}-{per_document}.npy"
    np.save(path, _vectors(rng, int(offsets[-1]), width))
    asked = 1 + rng.binomial(QUERIES - 1, (per_document - 1) / (QUERIES - 1), documents)
    pairs = [
        (query, document)
        for document, n in enumerate(asked.tolist())
        for query in np.sort(rng.choice(QUERIES, n, replace=False)).tolist()
    ]
    queries = [_vectors(rng, n, width) for n in rng.integers(6, 21, QUERIES).tolist()]
    stored = np.asarray(np.load(path, mmap_mode="c"))
    return Case(stored, offsets, queries, np.array(pairs, np.int64))


def _vectors(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    vectors = rng.standard_normal((n, width), dtype=np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def by_chunks(of: Case, score: Callable[[Packed, list[np.ndarray], np.ndarray], Any]) -> np.ndarray:
    """[n] float32 scores, computed for as many documents at a time as stage 1 reads."""
    found, pairs = np.zeros(len(of.pairs), np.float32), Pairs(of.pairs)
    queries = Packed.of(of.queries)
    for start in range(0, len(pairs.rows), STORED_AT_ONCE):
        rows = pairs.rows[start : start + STORED_AT_ONCE]
        positions, part = pairs.about(rows)
        found[positions] = score(queries, of.slices(rows), part).numpy()
    return found


def ours(of: Case) -> np.ndarray:
    """As stage 1 does it on a CPU."""
    return by_chunks(
        of, lambda q, arrays, pairs: late_interaction.maxsim(q, Separate(arrays), pairs)
    )


def batches(of: Case) -> np.ndarray:
    """As an accelerator does it, and a CPU did before."""
    return by_chunks(
        of, lambda q, arrays, pairs: late_interaction.maxsim_in_batches(q, Packed.of(arrays), pairs)
    )


def _documents(of: Case) -> Iterator[tuple[torch.Tensor, slice]]:
    """A document's vectors in float32, and where its pairs are."""
    cuts = np.flatnonzero(np.diff(of.pairs[:, 1], prepend=-1, append=-1))
    numbers = of.pairs[cuts[:-1], 1]
    for array, (low, high) in zip(
        of.slices(numbers), itertools.pairwise(cuts.tolist()), strict=True
    ):
        yield torch.from_numpy(array).float(), slice(low, high)


def product_per_document(of: Case) -> np.ndarray:
    """One product for a document and its queries' vectors, one after the other."""
    queries = [torch.from_numpy(query).float() for query in of.queries]
    found = np.empty(len(of.pairs), np.float32)
    for document, part in _documents(of):
        asked = [queries[query] for query in of.pairs[part, 0].tolist()]
        best = (document @ torch.cat(asked).T).amax(0)
        found[part] = [of_query.mean() for of_query in best.split([*map(len, asked)])]
    return found


def flagembedding(of: Case) -> np.ndarray:
    """FlagEmbedding 1.4's colbert_score, pair by pair."""
    queries = [torch.from_numpy(query).float() for query in of.queries]
    found = np.empty(len(of.pairs), np.float32)
    for document, part in _documents(of):
        for i in range(part.start, part.stop):
            query = queries[of.pairs[i, 0]]
            token_scores = torch.einsum("in,jn->ij", query, document)
            best, _ = token_scores.max(-1)
            found[i] = torch.sum(best) / query.size(0)
    return found


def numpy_per_pair(of: Case) -> np.ndarray:
    """A product of numpy's for each pair."""
    queries = [query.astype(np.float32) for query in of.queries]
    found = np.empty(len(of.pairs), np.float32)
    for document, part in _documents(of):
        vectors = document.numpy().T
        for i in range(part.start, part.stop):
            found[i] = (queries[of.pairs[i, 0]] @ vectors).max(1).mean()
    return found


PEERS: dict[str, Callable[[Case], np.ndarray]] = {
    "batches": batches,
    "product per document": product_per_document,
    "FlagEmbedding": flagembedding,
    "numpy": numpy_per_pair,
}


def measure(of: Case, rounds: int) -> dict[str, Any]:
    """Times all contenders on a case, and compares what they find."""
    contenders = {"ours": ours} | PEERS
    found = {name: contender(of) for name, contender in contenders.items()}
    apart = {name: float(np.abs(found[name] - found["ours"]).max()) for name in PEERS}
    if max(apart.values()) > 1e-5:
        raise SystemExit(f"scores differ: {apart}")
    seconds = in_turn(
        {name: lambda f=contender: f(of) for name, contender in contenders.items()},
        rounds,
        time.process_time,
    )
    return {
        "dimensions": of.stored.shape[1],
        "documents": len(of.offsets) - 1,
        "pairs": len(of.pairs),
        "queries_per_document": round(len(of.pairs) / (len(of.offsets) - 1), 2),
        "rounds": rounds,
        "cpu_seconds": {name: spread(values) for name, values in seconds.items()},
        "pairs_per_cpu_second": {
            name: round(len(of.pairs) / float(np.median(values)))
            for name, values in seconds.items()
        },
        "times_as_long_as_ours": {name: ratio(seconds[name], seconds["ours"]) for name in PEERS},
        "largest_difference_of_a_score": max(apart.values()),
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="60 documents, one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    documents, rounds = (60, 1) if options.quick else (options.documents, options.rounds)
    torch.set_num_threads(1)
    cases = []
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        for width, per_document in itertools.product(WIDTHS, QUERIES_PER_DOCUMENT):
            cases.append(measure(case(Path(folder), width, documents, per_document), rounds))
            say(f"\nd {width}, {cases[-1]['queries_per_document']} queries a document")
            for name, rate in cases[-1]["pairs_per_cpu_second"].items():
                times = cases[-1]["times_as_long_as_ours"].get(name, {"median": 1})["median"]
                say(f"  {name}: {rate:,} pairs per CPU second, {times} times as long as ours")
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "maxsim.json"
    )
    if output:
        write_json(output, {"what": __doc__, "threads": 1, "cases": cases, "machine": machine()})
        say(f"written {output}")


if __name__ == "__main__":
    main()
