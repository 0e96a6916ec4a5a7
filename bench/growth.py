"""What grows with a corpus, as sums: stage 1 in parts, and stage 0 of 10^9 documents."""

from __future__ import annotations

import math
from typing import NamedTuple

from bench.rates import Rates
from m3eval.benchmarks.repeats import IN_MEMORY
from m3eval.stages import planning
from m3eval.stages.executors.parts import worth
from m3eval.stages.planning import Plan
from m3eval.stages.shards import SHARD_CHARACTERS_VECTORS

SHARD = 20_000  # texts
PARTS = (1, 2, 4, 8, 16, 32, 64, 256)
BILLION = 10**9
OFFSET = 8  # bytes of a text's place among the vectors of a shard
RECORD = 70  # bytes of a shard in a manifest: its number of texts, and the SHA-256 of its record
DOCID = 12  # bytes, with the end of its line
HASH = 8  # bytes of a docid's hash
DEPTH, QUERIES = 1000, 1000  # of the run whose lists are looked up among 10^9 documents


class InParts(NamedTuple):
    """Stage 1, dense and sparse, of all languages."""

    parts: int
    seconds: float  # until the runs are there
    merging: float  # seconds of them, by one process
    gigabytes: float  # of the lists of the parts


def stage_1(plan: Plan, rates: Rates, cores: int) -> list[InParts]:
    """Stage 1 in several numbers of parts, each of which has so many cores.

    Every part is searched by a worker of its own; one process then reads and merges their lists.
    Among the numbers is the one that stage 1 takes where it has more workers.
    """
    most = max(each.documents.count for each in plan.searches)
    taken = worth(2 * plan.width * most, plan.searches[0].depth, cores)
    found = []
    for parts in sorted({*PARTS, taken}):
        lines = 2 * sum(  # of dense and sparse
            each.lines * min(parts, math.ceil(each.documents.count / SHARD))
            for each in plan.searches
        )
        searching = (plan.dense_search + plan.sparse_search) / (parts * cores)
        searching += rates.checked * plan.store_bytes / parts
        if parts == 1:  # no list of a part is written, and none merged
            found.append(InParts(1, searching, 0.0, 0.0))
            continue
        searching += lines / parts * rates.line_written
        merging = lines * rates.line_merged
        found.append(InParts(parts, searching + merging, merging, lines * planning.LINE / 1e9))
    return found


def paper(plan: Plan, rates: Rates, tokens_per_second: float) -> dict[str, float]:
    """10^9 documents like MIRACL's, by what was measured and by what the code holds."""
    corpora = [each for each in plan.sets.values() if each.role == "document"]
    count = sum(each.count for each in corpora)
    tokens = sum(each.all_tokens for each in corpora) / count
    dense = 2.0 * plan.width
    sparse = sum(each.count * each.bytes for each in corpora) / count - dense
    shards = BILLION / SHARD
    with_vectors = BILLION * tokens * planning.CHARACTERS / SHARD_CHARACTERS_VECTORS
    return {
        "tokens": BILLION * tokens,
        "hours of one worker": BILLION * tokens / tokens_per_second / 3600,
        "TB of dense": BILLION * dense / 1e12,
        "TB of sparse": BILLION * sparse / 1e12,
        "TB of multi-vectors": BILLION * (tokens * dense + OFFSET) / 1e12,
        "shards": shards,
        "shards with multi-vectors": with_vectors,
        "files": 6 * shards,
        "files with multi-vectors": 8 * with_vectors,
        "MB of manifest": shards * RECORD / 1e6,
        "MB of manifest with multi-vectors": with_vectors * RECORD / 1e6,
        "hours of one reader": BILLION * (rates.read + rates.handed) / 3600,
        "hours of passing by, a share": BILLION * rates.passed / 3600,
        "hours of merge over lines": BILLION * rates.looked / 3600,
        "hours of hashing what is there, once": BILLION * (dense + sparse) * rates.checked / 3600,
        "seconds of finish": shards * rates.finished,
        "GB of hashes of ids on disk": BILLION * HASH / 1e9,
        "GB of hashes in memory": 3 * IN_MEMORY * HASH / 1e9,
        "GB of ids that a run reads": BILLION * DOCID / 1e9,
        "GB of the best of 1,000 queries": 2 * QUERIES * DEPTH * planning.HIT / 1e9,
        "core hours of exact dense search of 1,000 queries": (
            2 * QUERIES * BILLION * plan.width / planning.FLOPS_OF_SEARCH / 3600
        ),
    }
