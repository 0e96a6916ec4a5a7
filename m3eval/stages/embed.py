"""Stage 0: texts -> representations in stores.

With `runtime.share` one of several processes, each started by hand: it makes its part of the
shards, and `m3eval merge` finishes the stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from m3eval.benchmarks.once import AHEAD, ReadOnce
from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import text_sets
from m3eval.config import Setup
from m3eval.console import duration, meter, say
from m3eval.encoders.encoder import Request, check_able
from m3eval.errors import UserError, together
from m3eval.layout import StoreFiles
from m3eval.locks import held, shared
from m3eval.manifests import StoreCost
from m3eval.remote import is_url
from m3eval.runtime import Share
from m3eval.stages import forecast, workers
from m3eval.stages.identity import store_plan
from m3eval.stages.job import Job, foreseen
from m3eval.stages.shards import decides, in_share, to_store
from m3eval.stages.texts import ReadTexts
from m3eval.stores import checks, compression
from m3eval.stores.writer import StoreWriter, recover


def run(setup: Setup) -> None:
    """Stage 0: encode corpora and queries"""
    if setup.cfg.encoder._target_ is None:
        say(f"nothing to encode: {', '.join(setup.cfg.retriever)} read texts")
        return
    share = setup.runtime.share
    if setup.cfg.overwrite and is_url(setup.cfg.output_dir):
        raise UserError(
            f"output_dir={setup.cfg.output_dir} and overwrite=true: an object store cannot replace "
            "a store in one move. Remove the store there, or choose another output_dir=."
        )
    if share:
        require_plain(setup, f"runtime.share={share}")
    # Where both the encoder and the texts are out of reach, both are named.
    encoder, _ = together([lambda: setup.encoder, lambda: setup.tasks])
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    wanted = setup.cfg.representations or encoder.representations
    say(f"encoder    {encoder.label}: {', '.join(wanted)}; on {setup.runtime}, {encoder.engine}")
    for role in ("query", "document"):
        check_able(encoder, wanted, setup.rules.max_length(role), role)
    if "dense" in wanted:
        compression.Compression(**setup.cfg.store.dense).fit(encoder.width)
    if setup.cfg.plan_only:
        plan(setup, survey(setup))
        say("plan_only=true: nothing was encoded.")
        return
    with joined(to_write(setup), share) if share else locked(to_write(setup)):
        jobs = survey(setup, skipping=share is not None)
        todo = plan(setup, jobs)
        if todo:
            encode(setup, todo)
    for job in jobs:
        state = "found finished" if job not in todo else "share written" if share else "written"
        about = "" if job.reading.known else "about "
        count = (job.reading.known or job.census).content.count
        say(f"  {state:14} {job.store.path}  ({about}{count:,} texts)")
        if job not in todo:
            seal(job)
            if job.store.replacement.exists():
                say(f"  {'':14} overwrite=true has begun another in {job.store.replacement}")


def require_plain(setup: Setup, what: str) -> None:
    """Raises UserError where stores are to be replaced or repaired: one process does that alone."""
    if name := next((name for name in ("overwrite", "repair") if setup.cfg[name]), None):
        raise UserError(
            f"{what} and {name}=true do not go together: run `m3eval embed {name}=true` without "
            "runtime.share=, or choose another output_dir=."
        )


def to_write(setup: Setup) -> list[StoreFiles]:
    """The stores that may have to be written."""
    names = {texts.name for task in setup.tasks for texts in text_sets(task, setup.rules)}
    stores = [setup.layout.store(name) for name in sorted(names)]
    if setup.cfg.overwrite or setup.cfg.repair:
        return stores
    return [
        files
        for files in stores
        if not files.manifest.exists() or files.plan.exists() or files.replaced.exists()
    ]


@contextmanager
def locked(stores: Iterable[StoreFiles]) -> Iterator[None]:
    """Lets no other process write these stores, and ends what a killed one was about to do.

    Raises:
        UserError: another process writes one of them.
    """
    with ExitStack() as stack:
        for files in stores:
            stack.enter_context(held(files.lock, f"The store {files.folder}", "m3eval embed"))
            recover(files)
        yield


@contextmanager
def joined(stores: Iterable[StoreFiles], share: Share) -> Iterator[None]:
    """Writes these stores together with other shares; nobody else may write them meanwhile.

    Raises:
        UserError: a process writes one of them alone.
    """
    work = f"m3eval embed runtime.share={share}"
    with ExitStack() as stack:
        for files in stores:
            stack.enter_context(shared(files.lock, f"The store {files.folder}", work))
        yield


def seal(job: Job) -> None:
    """Seals a finished store that an early version made, as it stands."""
    if job.store.is_sealed:
        return
    with locked([StoreFiles(job.store.path)]):
        job.store.finish()
    say(f"  {'':14} sealed as it stands: damage to it will be seen from now on")


def plan(setup: Setup, jobs: list[Job]) -> list[Job]:
    """Says what is to be done, and returns the jobs that are."""
    todo = unfinished(jobs)
    if todo or setup.cfg.plan_only:
        show_first(setup, jobs)
    if todo:
        forecast.announce(setup, todo)
    return todo


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose stores lack something; says which of their shards are damaged."""
    todo = [job for job in jobs if not job.store.finished]
    for job in todo:
        for error in job.store.found.broken.values():
            say(f"  damaged    {str(error).removesuffix(checks.REMEDY).rstrip()}")
    return todo


def survey(setup: Setup, skipping: bool = False) -> list[Job]:
    """Reads of every corpus and query set what is needed to begin, and opens its store.

    A set that does not end soon is looked at as a whole once it was read for encoding.

    Args:
        setup: the configuration.
        skipping: texts are parsed only where they are asked for, as of a share.

    Raises:
        UserError: counts are not the published ones, ids are unfit, or a store was made otherwise.
            Everything that is wrong is said together.
    """
    jobs: dict[str, Job] = {}  # by text set: languages may share a corpus
    read_texts, share = setup.once(ReadTexts), setup.runtime.share

    def add_job(reading: ReadOnce, published: int | None, task: Task) -> None:
        name = reading.texts.name
        if name not in jobs:
            wanted = to_store(setup, reading.so_far.content)
            planned = store_plan(setup, reading.texts, reading.known, wanted, dict(task.commits))
            own = partial(in_share, share, name) if share else None
            files = setup.layout.store(name)
            store = StoreWriter(files.folder, planned, setup.cfg.overwrite, setup.cfg.repair, own)
            texts = replace(reading.texts, lazy=partial(reading.items, skipping))
            jobs[name] = Job(texts, reading, *foreseen(reading, published), store)

    def examine(task: Task) -> None:
        corpus, queries = read_texts.reading_corpus(task), read_texts.reading_queries(task)
        for reading in (corpus, queries):
            look(setup, reading)
        if corpus.known and queries.known:
            read_texts.survey(task)
        else:
            corpus.at_end.append(lambda _: read_texts.survey(task))
        add_job(corpus, task.corpus.published, task)
        add_job(queries, len(task.queries), task)

    together([lambda task=task: examine(task) for task in setup.tasks])
    return list(jobs.values())


def look(setup: Setup, reading: ReadOnce) -> None:
    """Reads of a text set what decides what its store holds, and what a forecast is made from.

    Where a finished store is to be held against the texts, all of them.
    """
    if setup.layout.store(reading.texts.name).manifest.exists() and not setup.cfg.overwrite:
        reading.census()
    elif reading.texts.role == "query":
        reading.census()  # in memory already
    else:
        share = setup.runtime.share
        reading.look(AHEAD // (share.of if share else 1), decides(setup))


def show_first(setup: Setup, jobs: list[Job]) -> None:
    """Prints the first query and document as they are encoded, so that a wrong template is seen."""
    encoder = setup.encoder
    for role in ("query", "document"):
        texts, census = next((job.texts, job.census) for job in jobs if job.texts.role == role)
        key, text = census.sample[0]
        tokens = encoder.tokenize(Request([text], role, texts.max_length))
        count = f"{tokens.lengths.sum()} tokens"
        if len(tokens.ids) > 1:
            count += f" in {len(tokens.ids)} windows"
        text = encoder.framed(text, role)
        say(f"first {role:8} {key}, {count}: {text[:160]!r}{' ...' if len(text) > 160 else ''}")


def encode(setup: Setup, todo: list[Job]) -> None:
    """Encodes the shards that are missing, and finishes the stores; of a share only the former."""
    share = setup.runtime.share
    work = [(job.texts, job.store.join() if share else job.store.start()) for job in todo]
    with meter("embed", sum(job.census.content.work for job in todo), "texts") as progress:
        costs = workers.encode(setup, work, progress.advance)
    for job in todo:
        cost = costs.get(job.texts.name)
        if not share:
            finish(setup, job, cost)
        elif cost:
            job.store.leave(cost)
    tokens = sum(cost.tokens for cost in costs.values())
    seconds = sum(cost.seconds for cost in costs.values())
    if tokens:
        say(f"encoded {tokens:,} tokens in {duration(seconds)}: {tokens / seconds:,.0f} tokens/s")
    if share:
        say(
            f"share {share} is done. Once all {share.of} are, `m3eval merge` with the same words "
            "finishes the stores."
        )


def finish(setup: Setup, job: Job, cost: StoreCost | None) -> None:
    """Finishes a store, all of whose shards are there, and says what is to be known of it."""
    before = job.store.found.manifest
    manifest = job.store.finish(cost, job.reading.census().content)
    if before and before.records:
        same = (
            "to"
            if manifest.records == before.records
            else "but stage 1 makes its runs again: not to"
        )
        say(f"  {job.texts.name}: repaired, {same} the bytes of before")
    totals, storage = manifest.totals, manifest.plan.dense
    if totals.truncated:
        say(
            f"  {job.texts.name}: {totals.truncated:,} of {totals.texts:,} texts were longer "
            f"than {job.texts.max_length:,} tokens and were cut"
        )
    if storage:
        width = manifest.bytes["dense"] / totals.texts
        whole = compression.Compression().bytes(setup.encoder.width)
        say(
            f"  {job.texts.name}: {storage}: {width:,.0f} bytes a text ({whole:,} whole as float16)"
        )
