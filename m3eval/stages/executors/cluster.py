"""Shards encoded by tasks of a Ray cluster: on this machine, or at an address.

Plain tasks, not actors: a task of a node that is lost runs again wherever there is room, an actor
waits for a place of its own. A process that runs tasks keeps its encoder for the next one. This
process reads the texts, once; they travel with the tasks. Shards are written by the tasks, so the
output folder must be one that every node sees.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf

from m3eval.config import Setup
from m3eval.errors import UserError
from m3eval.manifests import StoreCost
from m3eval.oserrors import in_words
from m3eval.runtime import Runtime
from m3eval.stages.shards import Done, OnProgress, Shard, wanted_of

AHEAD = 2  # shards per worker that are under way: one is encoded, one waits beside it
RETRIES = 20  # of a shard whose worker was lost: preempted, or killed for memory


class Sent(NamedTuple):
    """A shard that a task has. Its texts are Ray's to keep: of many workers they fill gigabytes."""

    text_set: str
    number: int
    work: float
    texts: int


def in_tasks(setup: Setup, shards: Iterator[Shard], on_progress: OnProgress) -> Iterator[Done]:
    """An `Executor`: as many tasks at a time as the cluster has room for.

    Raises:
        UserError: Ray is not installed or not reached, or what a task could not do.
    """
    runtime = setup.runtime
    ray, takes = connected(runtime), needs(runtime)
    try:
        task = ray.remote(**takes, max_retries=RETRIES)(_encode)
        words = ray.put(json.dumps(config(setup)))
        under_way: dict[Any, Sent] = {}
        while True:
            while len(under_way) < AHEAD * room(ray.cluster_resources(), takes):
                if (shard := next(shards, None)) is None:
                    break
                sent = Sent(shard.text_set, shard.number, shard.work.sum(), len(shard.work))
                under_way[task.remote(words, shard)] = sent
                shard = None
            if not under_way:
                return
            ready, _ = ray.wait([*under_way], timeout=1)  # the cluster may have grown meanwhile
            for reference in ready:
                sent = under_way.pop(reference)
                yield Done(sent.text_set, _result(ray, reference, sent))
                on_progress(sent.work, sent.texts)
    finally:
        ray.shutdown()


def connected(runtime: Runtime) -> Any:
    """The module ray, with a cluster of its own or the one at the address."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise UserError(
            f"runtime.executor=ray needs Ray ({error}): pip install 'm3eval[ray]'."
        ) from error
    if runtime.address is not None:
        _require_reached(runtime.address)
    own = {"address": "local", "num_cpus": runtime.processes, "include_dashboard": False}
    where = own if runtime.address is None else {"address": runtime.address}
    try:
        ray.init(**where, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = runtime.address or "this machine"
        raise UserError(f"Ray does not start, or cannot be joined, at {where}: {error}") from error
    return ray


def _require_reached(address: str) -> None:
    """Raises UserError where nobody listens at an address. Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(
            f"There is no cluster at runtime.address={address} ({error.strerror or error}): start "
            "one with `ray start --head`, or leave the address out for one on this machine."
        ) from error


def needs(runtime: Runtime) -> dict[str, float]:
    """What a task takes of a node."""
    if runtime.device.startswith("cuda"):
        return {"num_gpus": 1}
    # Of a cluster of this machine, processes share its cores: each is one place.
    return {"num_cpus": 1 if runtime.address is None else _threads(runtime)}


def _threads(runtime: Runtime) -> int:
    """CPU threads of one worker."""
    return max(1, runtime.threads // runtime.processes)


def room(there: dict[str, float], takes: dict[str, float]) -> int:
    """How many tasks a cluster with these resources runs at a time; one at least."""
    return max(1, int(there.get("GPU" if "num_gpus" in takes else "CPU", 0) // max(takes.values())))


def config(setup: Setup) -> Any:
    """The configuration of a worker: one process, on the GPU that Ray shows it."""
    runtime = setup.runtime
    own = {
        "device": "cuda" if runtime.device.startswith("cuda") else runtime.device,
        "threads": _threads(runtime),
        "processes": 1,
        "executor": "local",
        "share": None,
    }
    return OmegaConf.to_container(OmegaConf.merge(setup.cfg, {"runtime": own}))


def _result(ray: Any, reference: Any, sent: Sent) -> StoreCost:
    """What a shard took. Raises UserError where its task could not write it."""
    what = f"Shard {sent.number} of {sent.text_set}"
    try:
        result = cast(StoreCost | str, ray.get(reference))
    except ray.exceptions.RayTaskError:  # a defect of ours: all of it is shown
        raise
    except ray.exceptions.RayError as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{what} could not be encoded by Ray ({type(error).__name__}: {first}). What is "
            "finished is kept: run again."
        ) from error
    if isinstance(result, str):
        raise UserError(result)
    return result


def _encode(words: str, shard: Shard) -> StoreCost | str:
    """The task: encodes and writes a shard. Gives what it took, or why it could not be done."""
    started = time.monotonic()
    try:
        setup = _setup(words)
        result = setup.encoder.encode(shard.request, wanted_of(setup, shard.representations))
        shard.write(result)
        seconds, runtime = time.monotonic() - started, str(setup.runtime)
        return StoreCost(result.tokens, seconds, runtime, setup.encoder.attention)
    except Exception as error:
        if (said := error if isinstance(error, UserError) else in_words(error)) is None:
            raise
        return str(said)


@functools.cache  # the encoder stays for the process's next task
def _setup(words: str) -> Setup:
    return Setup(cast(DictConfig, OmegaConf.create(json.loads(words))))
