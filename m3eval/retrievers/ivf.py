"""Approximate dense retrieval: faiss' inverted lists over 8-bit codes find, we score.

Documents are shared out among lists by the nearest of so many centres, and a query looks into those
lists alone whose centres are nearest to it. What is found is scored by the stored vectors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.lazy import faiss
from m3eval.oserrors import writing
from m3eval.retrievers import ivf_sizes as sizes
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.retrievers.topk import TopK
from m3eval.stores.store import Store

SEED = 0
# Fixed, for faiss rounds otherwise in blocks of other sizes. They bound what threads hold, too.
QUERIES, ADDED = 16, 20_000
MEASURED = 100  # queries of which recall is measured
CUTOFFS = (10, 100, 1000)


@contextmanager
def one_core_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool in whose threads faiss computes alone, so that bytes are the same for any number."""
    with ThreadPoolExecutor(threads, "ivf", lambda: faiss.omp_set_num_threads(1)) as pool:
        yield pool


def search(
    sources: Sources,
    depth: int,
    lists: int | None,
    probes: int | None,
    exact: Callable[[np.ndarray], TopK],
) -> Run:
    """The documents that the lists give, with their own scores; how many are missed is measured.

    From how many queries on lists pay is said before they are made. Memory holds a byte for each
    dimension of every document.

    Args:
        sources: the stores. It is told what the settings came to, and the recall.
        depth: documents per query.
        lists: see `ivf_sizes.lists_for`.
        probes: see `ivf_sizes.probes_for`.
        exact: the best documents by exact search of [m, d] float32 queries, to measure by.

    Raises:
        UserError: documents have windows, or are too few for the lists.
    """
    corpus = sources.corpus
    if corpus.has_windows:
        raise UserError(
            f"retriever.dense.engine=ivf reads one vector a document, and those of {corpus.path} "
            "have one for each window: set retriever.dense.engine=exact."
        )
    lists = sizes.lists_for(len(corpus), lists)
    probes = sizes.probes_for(len(corpus), depth, lists, probes)
    qids = sources.queries.ids
    say(f"  {sizes.pays(len(corpus), depth, lists, probes)}")
    queries = sources.queries.dense(np.arange(len(qids)))  # [q, d]
    with one_core_each(sources.runtime.threads) as pool:
        index = build(corpus, lists, sources.scratch, pool)
        run = look_up(index, probes, queries, corpus, depth, pool).run(qids, corpus.ids_of)
    sample = np.unique(np.linspace(0, len(qids) - 1, MEASURED).astype(np.int64))
    truth = exact(queries[sample]).run([qids[i] for i in sample], corpus.ids_of)
    sources.resolved |= {"lists": str(lists), "probes": str(probes)}
    sources.recall = recall(run, truth, depth)
    shares = ", ".join(f"recall@{k} {share:.3f}" for k, share in sources.recall.items())
    say(f"  approximate: {shares} against exact search of {len(sample)} queries")
    return run


def build(corpus: Store, lists: int, scratch: Path, pool: ThreadPoolExecutor) -> Any:
    """Makes the lists of a corpus in a scratch folder, or opens those that lie there.

    They are trained on documents at even distances; then blocks are added in their order.

    Returns:
        A faiss.IndexIVFScalarQuantizer.
    """
    path = scratch / f"ivf-{lists}.faiss"
    if path.exists():  # for another language that searches this corpus
        return faiss.read_index(str(path))
    sample = np.linspace(0, len(corpus) - 1, lists * sizes.DOCUMENTS_OF_A_LIST).astype(np.int64)
    vectors = corpus.dense(sample)
    width = vectors.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width),
        width,
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.cp.seed = SEED
    pool.submit(index.train, vectors).result()
    for _, block in corpus.dense_blocks(ADDED):
        pool.submit(index.add, np.asarray(block, np.float32)).result()
    scratch.mkdir(parents=True, exist_ok=True)
    with writing(path, path), path.open("wb") as file:  # by its name faiss hides what refused it
        into = faiss.PyCallbackIOWriter(file.write)  # pyright: ignore[reportAttributeAccessIssue]
        faiss.write_index(index, into)
    return index


def look_up(
    index: Any,
    probes: int,
    queries: np.ndarray,
    corpus: Store,
    depth: int,
    pool: ThreadPoolExecutor,
) -> TopK:
    """The best documents of [q, d] queries among those that the lists give."""
    top = TopK(len(queries), depth)

    def look(first: int) -> None:
        asked = queries[first : first + QUERIES]
        top.add(first, *found(index, probes, asked, corpus, depth))

    for _ in pool.map(look, range(0, len(queries), QUERIES)):
        pass
    return top


def found(
    index: faiss.IndexIVFScalarQuantizer,
    probes: int,
    queries: np.ndarray,
    corpus: Store,
    depth: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What lists give for [m, d] queries, as `TopK.add` takes it: cuts, rows and exact scores."""
    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = probes
    at_most = min(math.ceil(sizes.CANDIDATES * depth), len(corpus))
    _, rows = index.search(queries, at_most, params=parameters)
    there = rows >= 0  # lists may hold fewer
    cuts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    rows = rows[there]
    if not len(rows):
        return cuts, rows, np.empty(0, np.float32)
    vectors = corpus.dense(rows)
    scores = [
        maths.dense_one(query, vectors[low:high])
        for query, (low, high) in zip(queries, itertools.pairwise(cuts.tolist()), strict=True)
    ]
    return cuts, rows, np.concatenate(scores)


def recall(run: Run, truth: Run, depth: int) -> dict[str, float]:
    """By cutoff: the mean share of the true lists' first documents that a run's first have."""
    shares = {}
    for cutoff in [k for k in CUTOFFS if k <= depth] or [depth]:
        of_queries = [
            len({*run[qid].docids[:cutoff]} & {*right.docids[:cutoff]}) / len(right.docids[:cutoff])
            for qid, right in truth.items()
        ]
        shares[str(cutoff)] = float(np.mean(of_queries))
    return shares
