"""What stage 0 will take, told before it is taken: bytes by a sample of texts, hours by a sample of packs."""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m3eval.benchmarks.texts import TextSet
from m3eval.config import Setup, builder
from m3eval.console import duration, say, size
from m3eval.encoders.encoder import Request
from m3eval.encoders.outside import TextEncoder
from m3eval.errors import UserError
from m3eval.stages.job import Job
from m3eval.stores import compression

SAMPLE = 64  # texts tokenised to foresee the size of a store
PACKS_TIMED = (
    4  # full packs encoded to foresee the time; what a device does in so many is its speed
)


def announce(setup: Setup, jobs: Sequence[Job]) -> None:
    """Prints how large the stores will be and how long the work will take.

    Raises:
        UserError: they will not fit on the disk, or cost more than was agreed to.
    """
    encoder = setup.encoder
    means = {job.texts.name: means_of(encoder, job.texts) for job in jobs}
    lengths = {name: length for name, (length, _) in means.items()}
    tokens = {job.texts.name: job.census.count * lengths[job.texts.name] for job in jobs}
    total, width = 0.0, encoder.width
    for job in jobs:
        length, pieces = means[job.texts.name]
        dense = compression.of(job.store.plan.dense).bytes(width)
        per_text = {
            "dense": dense * pieces,
            "sparse": 6 * length,
            "multi_vector": 2 * width * length,
        }
        if "term_vectors" in job.store.plan.representations:
            per_text["term_vectors"] = encoder.heads_of(job.texts.role)["term_vectors"].size
        total += job.census.count * sum(per_text[name] for name in job.store.plan.representations)
    resumed = sum(job.store.resumed for job in jobs)
    count = sum(job.census.count for job in jobs)
    say(
        f"to encode  {count:,} texts, about {size(total)} of stores in {setup.layout.folder / 'stores'}"
        + (f"; {resumed} shards are there already" if resumed else "")
    )
    parent = next(
        path
        for path in (setup.layout.folder, *setup.layout.folder.resolve().parents)
        if path.exists()
    )
    if total > (free := shutil.disk_usage(parent).free):
        raise UserError(
            f"The stores need about {size(total)}, {parent} has {size(free)} free: choose another output_dir=."
        )
    if encoder.price is not None:  # a service is not timed: that would be paid
        encoder.price.announce(sum(tokens.values()))
        return
    sample = PACKS_TIMED * setup.runtime.token_budget
    if (
        setup.cfg.plan_only or sum(tokens.values()) > 20 * sample
    ):  # else timing would take more than a twentieth of the work
        largest = max(jobs, key=lambda job: tokens[job.texts.name])
        rate = speed(encoder, largest, math.ceil(sample / lengths[largest.texts.name]))
        rate *= (
            setup.runtime.processes if setup.runtime.device == "cuda" else 1
        )  # processes on a CPU share its cores
        foresee(setup, rate, tokens, jobs)


def announce_int8(setup: Setup, texts: TextSet) -> None:
    """Prints how far the 8-bit model's dense vectors, or lexical weights, are from the fp32 model's, on the first texts."""
    exact = builder(setup.cfg.encoder)(runtime=replace(setup.runtime, precision="fp32"))
    sample = [text for _, text in itertools.islice(texts.read(), SAMPLE)]
    name = "dense" if "dense" in exact.representations else "sparse"
    both = (
        getattr(encoder.encode(sample, texts.role, [name], texts.max_length), name)
        for encoder in (setup.encoder, exact)
    )
    ours, theirs = (found if name == "dense" else found.toarray() for found in both)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    say(
        f"int8       cosine to fp32 on {len(sample)} documents: mean {cosines.mean():.4f}, lowest {cosines.min():.4f}"
    )


def means_of(encoder: TextEncoder, texts: TextSet) -> tuple[float, float]:
    """Tokens and windows per text, of the first few."""
    sample = [text for _, text in itertools.islice(texts.read(), SAMPLE)]
    lengths = encoder.tokenize(Request(sample, texts.role, texts.max_length)).lengths
    return float(lengths.sum() / len(sample)), len(lengths) / len(sample)


def speed(encoder: TextEncoder, job: Job, count: int) -> float:
    """Tokens per second over the first `count` texts, after one has loaded the model."""
    sample = [text for _, text in itertools.islice(job.texts.read(), count)]
    settings = job.texts.role, job.store.plan.representations, job.texts.max_length
    encoder.encode(sample[:1], *settings)
    started = time.monotonic()
    return encoder.encode(sample, *settings).tokens / (time.monotonic() - started)


def foresee(setup: Setup, rate: float, tokens: dict[str, float], jobs: Sequence[Job]) -> None:
    """Prints how long this stage will take, and the next where it encodes the candidates' multi-vectors itself.

    Args:
        setup: the configuration.
        rate: tokens per second.
        tokens: text set -> about how many tokens it has.
        jobs: all text sets that are to be encoded.
    """
    everything = sum(tokens.values())
    say(
        f"estimate   {everything:,.0f} tokens at {rate:,.0f} tokens/s (measured): about {duration(everything / rate)}"
    )
    counts = {
        job.texts.name: job.census.count
        for job in jobs
        if "multi_vector" not in job.store.plan.representations
    }
    again = 0.0
    for task in setup.tasks:
        corpus = f"corpus-{task.corpus.name}"
        if corpus in counts:
            candidates = min(counts[corpus], len(task.queries) * setup.retrieval.rerank_depth)
            again += candidates * tokens[corpus] / counts[corpus]
    if again and "multi_vector" in setup.cfg.retriever:
        say(
            f"           and in stage 1, for the candidates' multi-vectors, at most {duration(again / rate)}"
        )
