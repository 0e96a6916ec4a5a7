"""What stage 0 will take, told before it is taken.

Bytes are foreseen by the census' sample of texts, and hours by encoding as much as a few packs.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.texts import Role, TextSet
from m3eval.config import Setup
from m3eval.console import duration, say, size
from m3eval.encoders.encoder import Request, TextEncoder
from m3eval.errors import UserError
from m3eval.manifests import DenseStorage, Representation
from m3eval.remote import is_url
from m3eval.stages.job import Job
from m3eval.stages.shards import representations_of, wanted_of
from m3eval.stores import compression, shard

# Full packs encoded to foresee the time: what a device does in so many is its speed.
PACKS_TIMED = 4


class Means(NamedTuple):
    """What the texts of a set are like, on average."""

    tokens: float
    windows: float


class Speed(NamedTuple):
    """What encoding so many tokens took."""

    tokens: int
    seconds: float  # by the clock
    cpu_seconds: float  # of all threads of this process
    begun: float  # CPU seconds of this process before, the model's loading among them
    bytes: dict[str, int]  # of the arrays of a shard, by file


class Sized(Protocol):
    """What of an encoder decides how large stores are; see `TextEncoder`."""

    @property
    def width(self) -> int:
        """Of vectors."""
        ...

    def bytes_per_text(self, name: Representation, role: Role, tokens: float) -> float:
        """Of a representation other than dense."""
        ...


def announce(setup: Setup, jobs: Sequence[Job]) -> None:
    """Prints how large the stores will be and how long the work will take.

    Raises:
        UserError: they will not fit on the disk, or cost more than was agreed to.
    """
    encoder = setup.encoder
    means = {job.texts.name: means_of(encoder, job.texts, job.census) for job in jobs}
    total = sum(
        job.census.content.count
        * bytes_per_text(
            encoder,
            job.texts.role,
            representations_of(job.store),
            compression.of(job.store.plan.dense),
            means[job.texts.name],
        )
        for job in jobs
    )
    announce_size(setup, jobs, total)
    tokens = {
        job.texts.name: job.census.content.count * means[job.texts.name].tokens for job in jobs
    }
    if share := setup.runtime.share:  # shards are about the same number in each
        tokens = {name: n / share.of for name, n in tokens.items()}
    if encoder.price is not None:  # a service is not timed: that would be paid
        encoder.price.announce(sum(tokens.values()))
        return
    sample = PACKS_TIMED * setup.runtime.token_budget
    # Otherwise timing would take more than a twentieth of the work.
    if setup.cfg.plan_only or sum(tokens.values()) > 20 * sample:
        largest = max(jobs, key=lambda job: tokens[job.texts.name])
        count = math.ceil(sample / means[largest.texts.name].tokens)
        stored = representations_of(largest.store)
        probe = speed(setup, largest.texts, largest.census, stored, count)
        rate = probe.tokens / probe.seconds
        if setup.runtime.device == "cuda":  # processes on a CPU share its cores
            rate *= setup.runtime.processes
        announce_time(setup, rate, tokens, jobs)


def bytes_per_text(
    encoder: Sized,
    role: Role,
    representations: Collection[Representation],
    dense: compression.Compression,
    means: Means,
) -> float:
    """About how many bytes a text takes in a store.

    Args:
        encoder: what the texts are encoded by.
        role: of the texts.
        representations: what the store holds.
        dense: how it keeps dense vectors.
        means: what the texts are like.
    """
    total = 0.0
    for name in representations:
        if name == "dense":
            total += dense.bytes(encoder.width) * means.windows
        else:
            total += encoder.bytes_per_text(name, role, means.tokens)
    return total


def announce_size(setup: Setup, jobs: Sequence[Job], total: float) -> None:
    """Prints how many texts there are to encode, and how many bytes they will take.

    Raises:
        UserError: these will not fit on the disk.
    """
    foreseen = [job for job in jobs if job.foreseen_by]
    resumed = sum(job.store.resumed for job in jobs)
    count = sum(job.census.content.count for job in jobs)
    folder = setup.layout.folder
    about = "about " if foreseen else ""
    say(
        f"to encode  {about}{count:,} texts, about {size(total)} of stores in {folder / 'stores'}"
        + (f"; {resumed} shards are there already" if resumed else "")
    )
    for job in foreseen:
        say(
            f"           {job.texts.name}: about {job.census.content.count:,} texts, "
            f"{job.foreseen_by}; they are counted while they are encoded"
        )
    parent = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if is_url(setup.cfg.output_dir):
        limit = setup.runtime.cache_limit
        say(f"           put to {setup.cfg.output_dir}; {size(min(total, limit))} stay here")
        total = min(total, limit)  # what was put makes room
    if total > (free := shutil.disk_usage(parent).free):
        raise UserError(
            f"The stores need about {size(total)}, {parent} has {size(free)} free: choose another "
            "output_dir=, or, for an object store, runtime.cache= or a lower runtime.cache_gb=."
        )


def request_of(texts: TextSet, sample: Iterable[tuple[str, str]]) -> Request:
    """Some of a set's (id, text) pairs as a request. There is one at least."""
    ids, strings = zip(*sample, strict=True)
    return Request(strings, texts.role, texts.max_length, ids)


def means_of(encoder: TextEncoder, texts: TextSet, census: Census) -> Means:
    """Tokens and windows per text, of a whole set.

    The sample says how many tokens there are for so much work, and how many windows beyond the
    first of each text; the census knows the work of all texts.
    """
    lengths = encoder.tokenize(request_of(texts, census.sample)).lengths
    sampled, work = len(census.sample), texts.work
    # At least 1: of texts without a character only the special tokens count, and are alike in all.
    of_sample = sum(max(1, work(len(text))) for _, text in census.sample) / sampled
    of_all = max(1, census.content.work / census.content.count)
    further = (len(lengths) - sampled) / sampled
    return Means(
        float(lengths.sum()) / sampled * of_all / of_sample, 1 + further * of_all / of_sample
    )


def speed(
    setup: Setup,
    texts: TextSet,
    census: Census,
    representations: Collection[Representation],
    count: int,
) -> Speed:
    """What `count` texts like the sample's take, after one has loaded the model.

    Where the sample has fewer, it is encoded several times over; where more, an even part of it.
    """
    encoder, sample = setup.encoder, census.sample
    repeated = sample * math.ceil(count / len(sample))
    # Evenly spaced, so that texts from all over the set are among them.
    request = request_of(texts, [repeated[i * len(repeated) // count] for i in range(count)])
    wanted = wanted_of(setup, representations)
    encoder.encode(request._replace(texts=request.texts[:1], ids=request.ids[:1]), wanted)
    started, cpu = time.monotonic(), time.process_time()
    made = encoder.encode(request, wanted)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    dense = compression.of(DenseStorage.configured(setup.cfg.store.dense, texts.role))
    return Speed(made.tokens, seconds, cpu_seconds, cpu, shard.bytes_of(made, dense))


def announce_time(
    setup: Setup, rate: float, tokens: Mapping[str, float], jobs: Sequence[Job]
) -> None:
    """Prints how long this stage will take.

    Also how long the next will, where it encodes the candidates' multi-vectors itself.

    Args:
        setup: the configuration.
        rate: tokens per second.
        tokens: text set -> about how many tokens are to be encoded of it here.
        jobs: all text sets that are to be encoded.
    """
    everything, share = sum(tokens.values()), setup.runtime.share
    say(
        f"estimate   {everything:,.0f} tokens {f'in share {share} ' if share else ''}"
        f"at {rate:,.0f} tokens/s (measured): about {duration(everything / rate)}"
    )
    if share:
        return
    counts = {
        job.texts.name: job.census.content.count
        for job in jobs
        if "multi_vector" not in job.store.plan.representations
    }
    again = 0.0  # tokens of candidates
    for task in setup.tasks:
        corpus = f"corpus-{task.corpus.name}"
        if corpus in counts:
            candidates = min(counts[corpus], len(task.queries) * setup.retrieval.rerank_depth)
            again += candidates * tokens[corpus] / counts[corpus]
    if again and "multi_vector" in setup.cfg.retriever:
        say(
            "           and in stage 1, for the candidates' multi-vectors, at most "
            f"{duration(again / rate)}"
        )
