"""Stage 0: texts -> representations in stores."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from m3eval.benchmarks.task import (
    Census,
    Task,
    TextSet,
    compare_counts,
    document_texts,
    query_texts,
)
from m3eval.config import Setup
from m3eval.console import duration, meter, say
from m3eval.encoders.encoder import Request, TextEncoder
from m3eval.encoders.representations import Representation
from m3eval.errors import UserError, together
from m3eval.provenance import versions
from m3eval.stages import forecast, workers
from m3eval.stores import compression
from m3eval.stores.writer import StoreWriter


class Job(NamedTuple):
    """A text set, what a first reading found in it, and the store it goes to."""

    texts: TextSet
    census: Census
    store: StoreWriter

    @property
    def representations(self) -> list[Representation]:
        """What the store is to hold."""
        return workers.representations_of(self.store)


def run(setup: Setup) -> None:
    """Stage 0: encode corpora and queries"""
    encoder, _ = together(
        [lambda: setup.encoder, lambda: setup.tasks]
    )  # both out of reach: say so at once
    asked = setup.cfg.representations or encoder.representations
    for role in ("query", "document"):
        encoder.check(asked, setup.rules.max_length(role), role)
    if "dense" in asked:
        compression.Compression(**setup.cfg.store.dense).fit(encoder.width)
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"encoder    {encoder.label}: {', '.join(asked)}; on {setup.runtime}, {encoder.engine}")
    jobs = survey(setup)
    todo = [job for job in jobs if not job.store.finished]
    if todo:  # otherwise nothing of the encoder but its identity is needed
        show_first(encoder, jobs)
        if setup.runtime.precision == "int8":
            documents = next(job.texts for job in jobs if job.texts.role == "document")
            forecast.announce_int8(setup, documents)
        forecast.announce(setup, todo)
    if setup.cfg.plan_only:
        say("plan_only=true: nothing was encoded.")
        return
    if todo:
        encode(setup, todo)
    for job in jobs:
        state = "written" if job in todo else "found finished"
        say(f"  {state:14} {job.store.path}  ({job.census.count:,} texts)")


def representations(setup: Setup, census: Census) -> list[Representation]:
    """What a text set's store gets: what was asked for, or else all that the encoder has.

    But then multi-vectors, which take a hundred times what the others do, only where they surely stay within the limit that
    the configuration sets: a token has at least one character. Of larger sets stage 1 encodes the candidates again.
    """
    if setup.cfg.representations:
        return list(setup.cfg.representations)
    small = 2 * setup.encoder.width * census.work <= setup.cfg.store.multi_vector.limit_gb * 1e9
    return [name for name in setup.encoder.representations if small or name != "multi_vector"]


def survey(setup: Setup) -> list[Job]:
    """Reads every corpus and query set once and opens its store.

    Raises:
        UserError: counts are not the published ones, ids are unfit, or a store was made otherwise; all of it together.
    """
    seen: dict[str, Job] = {}
    relevant: dict[str, set[str]] = defaultdict(set)  # by corpus, which several languages may share
    for task in setup.tasks:
        relevant[f"corpus-{task.corpus.name}"] |= task.relevant

    def look(texts: TextSet, task: Task) -> Job:
        if texts.name not in seen:
            census = texts.census(relevant[texts.name])
            planned = plan(setup, texts, census, representations(setup, census)) | {
                "commits": dict(task.commits)
            }
            writer = StoreWriter(setup.store_path(texts.name), planned, setup.cfg.overwrite)
            seen[texts.name] = Job(texts, census, writer)
        return seen[texts.name]

    def examine(index: int) -> None:
        task = setup.tasks[index]
        corpus = look(document_texts(task.corpus, setup.rules), task)
        remark = compare_counts(task, corpus.census.count, setup.cfg.benchmark.subset)
        look(query_texts(task, setup.rules), task)
        absent = task.relevant & corpus.census.absent
        if absent and absent == task.relevant:
            raise UserError(
                f"{task.language}: not one of {len(absent):,} relevant documents is in the corpus, for example "
                f"{min(absent)!r}: judgements and corpus do not belong together, or their ids are written differently."
            )
        say(
            f"  {task.language}: {corpus.census.count:,} documents, {len(task.queries):,} queries, {len(task.judged):,} judged"
            + (f" (subset: {remark})" if remark else "")
            + (
                f"; {len(absent):,} of {len(task.relevant):,} relevant documents are not in the corpus"
                if absent
                else ""
            )
        )

    together([lambda index=index: examine(index) for index in range(len(setup.tasks))])
    return list(seen.values())


def plan(
    setup: Setup, texts: TextSet, census: Census, wanted: list[Representation]
) -> dict[str, Any]:
    """All that decides the content of a store."""
    return {
        "texts": text_identity(setup, texts, census),
        "encoder": {"name": setup.encoder.name} | setup.encoder.identity,
        "representations": sorted(wanted),
        "shard_size": setup.runtime.shard_size,
        **(compression.planned(setup.cfg.store.dense, texts.role) if "dense" in wanted else {}),
        "made_with": versions(setup.runtime) | {"engine": setup.encoder.engine},
    }


def text_identity(setup: Setup, texts: TextSet, census: Census | None = None) -> dict[str, Any]:
    """What texts are, wherever they lie: as far as the configuration says and, after a census, by count and hash."""
    source = OmegaConf.to_container(setup.cfg.benchmark.source, resolve=True)
    identity = {
        "benchmark": setup.cfg.benchmark.name,
        "split": setup.cfg.benchmark.split,
        "source": {
            key: value
            for key, value in source.items()
            if key not in ("root", "languages") and not key.startswith("published_")
        },
        "set": texts.name,
        "document_fields": setup.rules.document_fields if texts.role == "document" else None,
        "joint": setup.rules.joint if texts.role == "document" else None,
        "normalize": setup.rules.normalize if texts.role == "document" else None,
        "max_length": texts.max_length,
    }
    return identity | ({"count": census.count, "sha256": census.sha256} if census else {})


def show_first(encoder: TextEncoder, jobs: list[Job]) -> None:
    """Prints the first query and the first document as they are encoded, so that a wrong template is seen."""
    for role in ("query", "document"):
        texts = next(job.texts for job in jobs if job.texts.role == role)
        key, text = next(texts.read())
        tokens = encoder.tokenize(Request([text], role, texts.max_length))
        count = f"{tokens.lengths.sum()} tokens" + (
            f" in {len(tokens.ids)} windows" if len(tokens.ids) > 1 else ""
        )
        text = encoder.framed(text, role)
        say(f"first {role:8} {key}, {count}: {text[:160]!r}{' ...' if len(text) > 160 else ''}")


def encode(setup: Setup, todo: list[Job]) -> None:
    """Encodes the shards that are missing, in one process or several, and finishes the stores."""
    for job in todo:
        job.store.start()
    with meter("embed", sum(job.census.work for job in todo), "texts") as progress:
        costs = workers.encode(setup, [(job.texts, job.store) for job in todo], progress.advance)
    for job in todo:
        manifest = job.store.finish(costs.get(job.texts.name))
        totals = manifest["totals"]
        if totals["truncated"]:
            say(
                f"  {job.texts.name}: {totals['truncated']:,} of {totals['texts']:,} texts were longer than "
                f"{job.texts.max_length:,} tokens and were cut"
            )
        if kept := job.store.plan.get("dense"):
            width = manifest["bytes"]["dense"] / totals["texts"]
            whole = compression.Compression().bytes(setup.encoder.width)
            say(
                f"  {job.texts.name}: {compression.words(kept)}: {width:,.0f} bytes a text ({whole:,} whole as float16)"
            )
    tokens, seconds = (sum(cost[key] for cost in costs.values()) for key in ("tokens", "seconds"))
    if tokens:
        say(f"encoded {tokens:,} tokens in {duration(seconds)}: {tokens / seconds:,.0f} tokens/s")
