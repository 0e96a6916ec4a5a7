"""Parts of corpora searched by several: processes of this machine, or the tasks of a Ray cluster.

Each of them is a share of stage 1, as one that is started by hand.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from typing import cast

from omegaconf import DictConfig, OmegaConf

from m3eval.config import Setup
from m3eval.errors import UserError
from m3eval.oserrors import in_words
from m3eval.runtime import Share
from m3eval.stages import search_share
from m3eval.stages.executors import cluster
from m3eval.stages.executors.processes import config_of
from m3eval.stages.planning import FLOPS_OF_SEARCH
from m3eval.stages.shards import LARGE
from m3eval.stores.store import Store

FEW = 8  # parts, which are merged in any case
LINE_MERGED = 7e-7  # CPU seconds of a line of a part's lists, read and merged: bench/rates.py


def search(setup: Setup, most: int) -> None:
    """Makes the lists of parts of every corpus, of at most so many parts.

    Raises:
        UserError: what a process or task could not do.
    """
    if setup.runtime.executor == "ray":
        in_tasks(setup, most)
    else:
        in_processes(setup, min(setup.runtime.processes, most))


def most(setup: Setup, corpus: Store, name: str) -> int:
    """Into how many parts of whole shards a retriever's corpus is cut at the most.

    One that compares a vector of each document is soon done, and then lists of more parts take
    longer to merge than they save; one that compares many, or encodes them first, never is.
    """
    shards, retriever = len(corpus.shards), setup.retrievers[name]
    if LARGE & {*retriever.stored} or not retriever.stored:
        return shards
    runtime = setup.runtime
    threads = max(1, runtime.threads // runtime.processes)
    compared = sum(corpus.manifest.bytes.get(name, 0) for name in retriever.stored)
    return min(shards, worth(compared, setup.retrieval.depth, threads))


def worth(compared: int, depth: int, threads: int) -> int:
    """With how many parts exact search takes least time, however many queries there are.

    For each query every part costs `depth` lines that one process reads and merges, and all parts
    together as many operations as the vectors have bytes in float16. The latter are shared by the
    parts, the former grow with them; their sum is least where both are equal.

    Args:
        compared: bytes of the corpus that are compared with a query.
        depth: documents of a list.
        threads: that search a part.
    """
    searching = compared / (FLOPS_OF_SEARCH * threads)
    return max(FEW, round(math.sqrt(searching / (depth * LINE_MERGED))))


def in_processes(setup: Setup, of: int) -> None:
    """The same in so many processes; with several GPUs each has one."""
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    started = []
    try:
        for number in range(of):
            ours, theirs = context.Pipe()
            words = _words(config_of(setup, number), Share(number, of))
            process = context.Process(target=_in_process, args=(words, theirs), daemon=True)
            process.start()
            theirs.close()
            started.append((process, ours))
        for process, pipe in started:
            said: str | None = None
            try:
                said = pipe.recv()
            except EOFError:  # it was killed
                process.join()
                said = (
                    f"A process of stage 1 ended with status {process.exitcode} (-9: killed, often "
                    "for memory). What is finished is kept: run again, with fewer "
                    "runtime.processes if memory was short."
                )
            if said is not None:
                raise UserError(said)
    finally:
        for process, _ in started:
            process.terminate()
            process.join()


def in_tasks(setup: Setup, most: int) -> None:
    """The same in tasks of Ray: a part for each place that the cluster has now."""
    ray, needs = cluster.connected(setup.runtime), cluster.needs(setup.runtime)
    try:
        task = ray.remote(**needs, max_retries=cluster.RETRIES)(_search)
        of = min(most, cluster.room(ray.cluster_resources(), needs))
        config = cast(DictConfig, OmegaConf.create(cluster.config(setup)))
        parts = [task.remote(_words(config, Share(number, of))) for number in range(of)]
        for said in ray.get(parts):
            if said is not None:
                raise UserError(said)
    except ray.exceptions.RayTaskError:  # a defect of ours: all of it is shown
        raise
    except ray.exceptions.RayError as error:
        raise UserError(
            f"A part of a corpus could not be searched by Ray ({type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]}). What is finished is kept: run again."
        ) from error
    finally:
        ray.shutdown()


def _words(config: DictConfig, share: Share) -> str:
    """The configuration of a share, as it travels."""
    own = {"runtime": {"share": str(share)}}
    return json.dumps(OmegaConf.to_container(OmegaConf.merge(config, own)))


def _in_process(words: str, parent: Connection) -> None:
    parent.send(_search(words))


def _search(words: str) -> str | None:
    """Makes the lists of a share; what could not be done, in words, or None."""
    setup = Setup(cast(DictConfig, OmegaConf.create(json.loads(words))))
    share = setup.runtime.share
    assert share is not None  # see `_words`
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            search_share.run(setup, share)
    except Exception as error:
        if (said := error if isinstance(error, UserError) else in_words(error)) is None:
            raise
        return str(said)
    return None
