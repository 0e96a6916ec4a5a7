"""Reranking: m3eval against FlagEmbedding's compute_score on one random checkpoint.

    python -m bench.rerank           50 queries x 100 candidates (15 minutes on 2 cores)
    python -m bench.rerank --quick   10 x 20, one round; writes only with --output

The checkpoint has BGE-M3's architecture with 6 layers x 384. Both sides compute dense, sparse and
multi-vector scores of every pair and two weighted sums, which must agree to 1e-5 in fp32.
compute_score encodes every pair; it runs with the best of several batch sizes. m3eval encodes a
document once for all queries that have it, so there are two cases: `shared_candidates` are drawn
from 2,000 documents, as many queries of a benchmark share theirs (`distinct_documents` says how
many remain); no two queries share `own_candidates`.

`ratios` says how many times as long compute_score took as m3eval (median, min, max). The goal, 6.0,
is for shared candidates in fp32. Writes results/bench/rerank.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import material
from bench.machine import machine
from bench.material import LIMIT
from bench.measure import ROOT, say
from bench.pairs import Contender, Run, alternate, best_of, times
from bench.peers import flag_model
from m3eval.files import write_json

ALL = ["dense", "sparse", "multi_vector"]
WEIGHTS = {"dense": 0.4, "sparse": 0.2, "multi_vector": 0.4}
BATCH_SIZES = (8, 16, 32)
WARM_UP = 16  # pairs
GOAL = 6.0  # times as fast as compute_score
Scores = dict[str, np.ndarray]


def ours(
    path: Path,
    queries: list[str],
    documents: list[str],
    pairs: np.ndarray,
    device: str,
    precision: str,
) -> Run:
    """Scores pairs by m3eval, which encodes each text once.

    Multi-vectors are scored where they are computed, pack by pack, and never kept.

    Args:
        path: the checkpoint.
        queries: texts.
        documents: texts.
        pairs: [pairs, 2] int64 numbers of a query and a document.
        device: where to compute.
        precision: fp32, bf16 or fp16.
    """
    from m3eval.encoders import m3
    from m3eval.encoders.encoder import Request, Wanted
    from m3eval.encoders.representations import Packed
    from m3eval.retrievers import late_interaction
    from m3eval.retrievers import scores as maths
    from m3eval.retrievers.candidates import Pairs
    from m3eval.runtime import settle

    encoder = m3.load(
        "m3", "M3", str(path), None, settle(device, precision, "auto", "auto", 20_000, 50_000)
    )

    def run(warm: bool) -> Scores:
        numbers, rows = (pairs[:WARM_UP] if warm else pairs).T  # [pairs] each
        distinct, places = np.unique(rows, return_inverse=True)
        grouped = Pairs(np.stack([numbers, places], axis=1))
        asked = encoder.encode(Request(queries, "query", LIMIT), Wanted(ALL, np.float32))
        vectors = Packed.of([asked.multi_vector[i] for i in range(len(queries))], device)

        def maxsim(_: Any, texts: np.ndarray, packed: Packed) -> np.ndarray:
            return late_interaction.maxsim(vectors, packed, grouped.about(texts)[1])

        (answered,) = encoder.stream(
            [Request([documents[row] for row in distinct], "document", LIMIT)],
            Wanted(ALL, np.float32, reduce=maxsim),
        )
        late = np.empty(len(places), np.float32)  # [pairs]
        for texts, values in answered.reduced:
            late[grouped.about(texts)[0]] = values
        scores = {
            "dense": np.einsum("nd,nd->n", asked.dense[numbers], answered.dense[places]),
            "sparse": maths.lexical_pairs(asked.sparse[numbers], answered.sparse[places]),
            "multi_vector": late,
        }
        two = {name: WEIGHTS[name] for name in ("dense", "sparse")}
        return scores | {
            "dense_sparse": maths.weighted_sum(scores, two) / sum(two.values()),
            "all": maths.weighted_sum(scores, WEIGHTS),
        }

    return run


def compute_score(
    path: Path,
    queries: list[str],
    documents: list[str],
    pairs: np.ndarray,
    device: str,
    precision: str,
    batch_size: int,
) -> Run:
    """Scores pairs by FlagEmbedding; takes what `ours` takes, and a batch size."""
    model = flag_model(path, precision, device, batch_size)
    texts = [(queries[q], documents[p]) for q, p in pairs]
    lengths = {"max_query_length": LIMIT, "max_passage_length": LIMIT}  # their names
    names = {"dense": "dense", "sparse": "sparse", "colbert": "multi_vector"}
    names |= {"sparse+dense": "dense_sparse", "colbert+sparse+dense": "all"}

    def run(warm: bool) -> Scores:
        scores = model.compute_score(
            texts[:WARM_UP] if warm else texts,
            batch_size=batch_size,
            weights_for_different_modes=[WEIGHTS[name] for name in ALL],
            **lengths,
        )
        return {names[key]: np.array(values, np.float32) for key, values in scores.items()}

    return run


def case(
    path: Path,
    n_queries: int,
    depth: int,
    pool: int,
    device: str,
    rounds: int,
    half: str = "bf16",
    peer_precision: str = "fp32",
) -> dict[str, Any]:
    """Times both on `n_queries` x `depth` candidates that are drawn from `pool` documents.

    m3eval computes in fp32 and in `half`, compute_score in `peer_precision`. If the pool has a
    document for every pair, no two queries share a candidate.
    """
    rng = np.random.default_rng(0)
    queries, documents = material.queries(n_queries), material.documents(pool)
    if pool >= n_queries * depth:
        drawn = rng.permutation(pool)[: n_queries * depth].reshape(n_queries, depth)
    else:
        drawn = np.stack([rng.choice(pool, depth, replace=False) for _ in range(n_queries)])
    pairs = np.stack([np.repeat(np.arange(n_queries), depth), drawn.ravel()], axis=1)
    distinct = len(np.unique(drawn))
    say(f"\n{n_queries} queries x {depth} candidates, {distinct:,} distinct documents")
    work = path, queries, documents
    best = best_of(
        {
            size: (compute_score, *work, pairs[::16], device, peer_precision, size)
            for size in BATCH_SIZES
        },
        "seconds" if device.startswith("cuda") else "cpu",
    )
    contenders = [
        Contender("ours fp32", ours, *work, pairs, device, "fp32"),
        Contender(f"ours {half}", ours, *work, pairs, device, half),
        Contender(
            f"compute_score, batch size {best}",
            compute_score,
            *work,
            pairs,
            device,
            peer_precision,
            best,
        ),
    ]
    exact, rough, peer = contenders
    scores = alternate(contenders, rounds)
    apart = {
        name: {
            key: float(np.abs(values - scores[peer.name][key]).max())
            for key, values in scores[name].items()
        }
        for name in (exact.name, rough.name)
    }
    report = {
        "queries": n_queries,
        "candidates": depth,
        "distinct_documents": distinct,
        "best_batch_size": best,
        "contenders": {contender.name: contender.summary() for contender in contenders},
        "ratios": {
            f"compute_score / {name}": times(peer, contender)
            for name, contender in (("ours fp32", exact), (f"ours {half}", rough))
        },
        "largest_difference_to_compute_score": apart,
    }
    for contender in contenders:
        contender.end()
    for name, value in report["ratios"].items():
        say(f"{name}: {value['median']} times ({value['min']} to {value['max']})")
    say(f"largest difference of a score in fp32: {max(apart['ours fp32'].values()):.1e}")
    return report


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10 x 20, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    sizes = (
        [(10, 20, 80, 1), (5, 20, 100, 1)]
        if options.quick
        else [(50, 100, 2000, options.rounds), (20, 50, 1000, 1)]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = material.checkpoint(Path(folder), 6, 384, 6)
        cases = [
            case(path, queries, depth, pool, options.device, rounds)
            for queries, depth, pool, rounds in sizes
        ]
    output = options.output or (
        None if options.quick else ROOT / "results" / "bench" / "rerank.json"
    )
    if output:
        write_json(
            output,
            {
                "goal": GOAL,
                "shared_candidates": cases[0],
                "own_candidates": cases[1],
                "machine": machine(),
            },
        )
        say(f"written {output}")
    ratio = cases[0]["ratios"]["compute_score / ours fp32"]["median"]
    apart = max(
        value
        for each in cases
        for value in each["largest_difference_to_compute_score"]["ours fp32"].values()
    )
    if apart > 1e-5 or (ratio < GOAL and not options.quick):
        raise SystemExit(
            f"{ratio} times (goal {GOAL}), scores differ by up to {apart:.1e} (1e-5 allowed)"
        )


if __name__ == "__main__":
    main()
