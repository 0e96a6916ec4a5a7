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
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.retrievers.topk import TopK
from m3eval.stores.store import Store

SEED = 0
DOCUMENTS_OF_A_LIST = 40  # at least, to train on: below 39 faiss warns that centres mean little
# Lists that a query looks into: so many, one in so many, and so many documents for each of depth.
LEAST_PROBES, PROBED, LOOKED_AT = 64, 64, 128
# Codes of 8 bits mistake the last documents of a list for others: more are scored than are asked.
CANDIDATES = 1.25
# Fixed, for faiss rounds otherwise in blocks of other sizes. They bound what threads hold, too.
QUERIES, ADDED = 16, 20_000
MEASURED = 100  # queries of which recall is measured
CUTOFFS = (10, 100, 1000)
# What costs beside a document that exact search compares with a query: a document that is compared
# with a centre (in ROUNDS to train, then to be added), one of a list, and one that is scored anew.
ROUNDS, BUILD, SCAN, RESCORE = 10, 0.7, 6.0, 50.0


def lists_for(documents: int, asked: int | None) -> int:
    """The number of lists for a corpus.

    Args:
        documents: how many there are.
        asked: the setting. None: the largest power of two within 2 x the root of the documents, and
            no more than leave 40 documents a list.

    Raises:
        UserError: there are less than 40 documents for each of them.
    """
    most = documents // DOCUMENTS_OF_A_LIST
    if (asked or 1) > most:
        few = f"lists={asked}" if asked else "engine=ivf"
        lower = f"lists={most} or fewer, or " if most else ""
        raise UserError(
            f"retriever.dense.{few} needs {DOCUMENTS_OF_A_LIST * (asked or 1):,} documents, "
            f"{DOCUMENTS_OF_A_LIST} for each list, and the corpus has {documents:,}: set "
            f"{lower}retriever.dense.engine=exact."
        )
    return asked or min(most, 1 << (int(2 * documents**0.5).bit_length() - 1))


def probes_for(documents: int, depth: int, lists: int, asked: int | None) -> int:
    """The number of lists that a query looks into.

    Args:
        documents: how many there are.
        depth: how many of them a query asks for.
        lists: how many there are.
        asked: the setting. None: so many as hold 128 x depth documents, and not less than 64 or
            than one list in 64; all of them if there are fewer.

    Raises:
        UserError: there are fewer lists than asked for.
    """
    if asked and asked > lists:
        raise UserError(
            f"retriever.dense.probes={asked}: there are {lists} lists; set it to at most that."
        )
    deep = math.ceil(LOOKED_AT * depth * lists / documents)
    return asked or min(lists, max(LEAST_PROBES, lists // PROBED, deep))


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
        lists: see `lists_for`.
        probes: see `probes_for`.
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
    lists = lists_for(len(corpus), lists)
    probes = probes_for(len(corpus), depth, lists, probes)
    qids = sources.queries.ids
    say(f"  {pays(len(corpus), depth, lists, probes)}")
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
    sample = np.linspace(0, len(corpus) - 1, lists * DOCUMENTS_OF_A_LIST).astype(np.int64)
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
    faiss.write_index(index, str(path))
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
    parameters = faiss.SearchParametersIVF(nprobe=probes)
    at_most = min(math.ceil(CANDIDATES * depth), len(corpus))
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


def pays(documents: int, depth: int, lists: int, probes: int) -> str:
    """From how many queries of a corpus on lists cost less than exact search, in a sentence."""
    asked = f"{probes:,} of {lists:,} lists of {documents:,} documents"
    least = break_even(documents, depth, lists, probes)
    if least is None:
        return f"{asked}: exact search costs less, however many the queries"
    return (
        f"{asked}: they pay from about {least:,} queries on, of all languages that search this "
        "corpus; exact search costs less for fewer"
    )


def break_even(documents: int, depth: int, lists: int, probes: int) -> int | None:
    """From how many queries on lists cost less CPU time than exact search; None: from no number.

    All is counted in exact searches of one query, which compare it with every document, at rates
    that were measured (results/scale.md).
    """
    trained = ROUNDS * DOCUMENTS_OF_A_LIST * lists * lists / documents
    query = SCAN * probes / lists + (lists + RESCORE * CANDIDATES * depth) / documents
    return math.ceil(BUILD * (lists + trained) / (1 - query)) if query < 1 else None


def worth(documents: int, depth: int, queries: int) -> bool:
    """Whether lists with the default settings cost less CPU time than exact search."""
    if documents < DOCUMENTS_OF_A_LIST:
        return False
    lists = lists_for(documents, None)
    least = break_even(documents, depth, lists, probes_for(documents, depth, lists, None))
    return least is not None and queries >= least
