"""The runs of one language: what each rests on, and whether its file must be made anew."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from m3eval import __version__
from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import TextSet, text_sets
from m3eval.buckets import discard
from m3eval.comparable import differences
from m3eval.config import Setup, builder
from m3eval.console import duration, say
from m3eval.errors import UserError, together
from m3eval.files import write_json
from m3eval.manifests import (
    DenseStorage,
    EncoderIdentity,
    RetrieverSettings,
    RunCost,
    RunManifest,
    TextIdentity,
)
from m3eval.records import plain, write
from m3eval.retrievers import finished
from m3eval.retrievers.retriever import Material, Retriever, find
from m3eval.retrievers.run import Run, without_self, write_run
from m3eval.retrievers.sources import Sources
from m3eval.runtime import Share
from m3eval.stages.identity import encoder_identity, retriever_settings
from m3eval.stages.partitions import Partitions
from m3eval.stages.texts import ReadTexts
from m3eval.stages.trust import open_store
from m3eval.stores.store import Store
from m3eval.tuned import refuse_seen


@dataclass(frozen=True)
class RestsOn:
    """What a run rests on, its settings aside: see the fields of `RunManifest`."""

    stores: dict[str, str] = field(default_factory=dict)
    texts: dict[str, TextIdentity] = field(default_factory=dict)
    commits: dict[str, str | None] = field(default_factory=dict)
    compression: dict[str, DenseStorage] = field(default_factory=dict)
    encoder: EncoderIdentity | None = None

    def __or__(self, other: RestsOn | RunManifest) -> RestsOn:
        return RestsOn(
            self.stores | other.stores,
            self.texts | other.texts,
            self.commits | other.commits,
            self.compression | other.compression,
            other.encoder or self.encoder,  # all runs of a folder have the same, or none
        )


class LanguageRuns:
    """Makes the runs of one language. A run that others build on is made before them."""

    def __init__(self, setup: Setup, task: Task) -> None:
        self.setup, self.task = setup, task
        self.in_memory: dict[str, Run] = {}
        self.manifests: dict[str, RunManifest] = {}
        self.damaged: dict[str, str] = {}  # what is wrong with a run that is there

    @cached_property
    def sources(self) -> Sources:
        """What the retrievers of this language read."""
        documents, queries = text_sets(self.task, self.setup.rules)
        return Sources(
            self.task.language,
            self.task.corpus.language or self.task.corpus.name,
            documents,
            queries,
            open_store=self._open_store,
            run=self.run,
            encoder=lambda: self.setup.encoder,
            runtime=self.setup.runtime,
            scratch=self.setup.layout.scratch / documents.name,
            judged=self.task.judged,
        )

    def run(self, name: str) -> Run:
        """A finished run, from memory or from its file."""
        if name not in self.in_memory:
            qids = [query.qid for query in self.task.queries]
            self.in_memory[name] = finished.read_run(
                self.setup.layout.run(name, self.task.language), qids
            )
        return self.in_memory[name]

    def make(self, name: str) -> None:
        """Searches and writes a run, unless its file rests on the same material and settings."""
        files = self.setup.layout.run(name, self.task.language)
        if not self.setup.cfg.overwrite and self._is_finished(name):
            say(f"  found finished  {files.trec}")
            self.partitions(name).remove()  # of a share that came too late
            return
        if damage := self.damaged.get(name):
            say(f"  made again: {damage}")
        started = time.monotonic()
        self.sources.resolved, self.sources.recall, self.sources.encoded_by = {}, {}, None
        partitions = self.partitions(name)
        if of := partitions.of:
            run, elsewhere = partitions.merged(of, partial(self._search, name))
        else:
            run, elsewhere = self._search(name), 0.0
        run = without_self(run) if self.setup.retrieval.exclude_self else run
        self.in_memory[name] = run
        discard(files.manifest)  # not before: what was there outlives a failure
        write_run(files, run, f"m3eval-{name}")
        seconds = time.monotonic() - started + elsewhere
        if self.expected(name).foreign:  # what reading a file took is no cost of a search
            discard(files.cost)
        else:
            encoder, runtime = self.sources.encoded_by, str(self.setup.runtime)
            attention = encoder.attention if encoder else None
            write_json(files.cost, plain(RunCost(len(run), seconds, runtime, attention)))
        resolved = self.sources.resolved
        made = replace(
            self.expected(name),
            resolved=resolved,
            approximate=self._approximate(name),
            files=finished.seal(files),
        )
        write(files.manifest, made)
        partitions.remove()
        documents = sum(len(ranking.docids) for ranking in run.values())
        empty = sum(not ranking.docids for ranking in run.values())
        say(
            f"  written  {files.trec}  {len(run):,} queries, {documents:,} documents, "
            + duration(seconds)
            + (f"; {empty:,} queries found nothing" if empty else "")
            + "".join(f"; {what}: {value or 'none'}" for what, value in resolved.items())
        )

    def _approximate(self, name: str) -> dict[str, dict[str, float]]:
        """See `RunManifest.approximate`; of a run that was just searched."""
        own = {name: self.sources.recall} if self.sources.recall else {}
        for other in self.expected(name).inputs:
            below = self.setup.layout.run(other, self.task.language)
            own |= finished.manifest_of(below).approximate
        return own

    def partitions(self, name: str) -> Partitions:
        """What there is of the lists of parts of a run."""
        files = self.setup.layout.run(name, self.task.language)
        qids = [query.qid for query in self.task.queries]
        return Partitions(files, self.expected(name), qids, str(self.setup.runtime))

    def make_part(self, name: str, share: Share) -> None:
        """Searches and writes one part of a run, unless it or the whole run is there."""
        if self.are_finished([name]):
            say(f"  found finished  {self.setup.layout.run(name, self.task.language).trec}")
            return
        self.partitions(name).make(share, partial(self._search, name))

    def _search(self, name: str, share: Share | None = None) -> Run:
        self.sources.share = share
        try:
            return builder(self.setup.cfg.retriever[name])(self.sources)
        finally:  # what came of a store that was replaced meanwhile is no run, whatever it is
            for store in self.sources.opened:
                store.require_unchanged()

    def expected(self, name: str) -> RunManifest:
        """All that decides a run: its settings, what it reads, and the runs that it builds on.

        Raises:
            UserError: a store is missing, unfinished or of other texts; counts of texts are not the
                published ones; the retriever builds on one that is not configured; or weights were
                tuned on queries of this language.
        """
        if name not in self.manifests:
            self.manifests[name] = self._expected(name)
        return self.manifests[name]

    def _expected(self, name: str) -> RunManifest:
        if name not in self.setup.cfg.retriever:
            raise UserError(
                f"A retriever builds on the run {name!r}: add it, as in retriever=[{name},...]."
            )
        settings = retriever_settings(self.setup, name)
        refuse_seen(name, settings, self.task)
        retriever = find(settings.target)
        inputs = {other: self.expected(other) for other in settings.get("inputs", [])}
        material = RestsOn()
        for run in inputs.values():
            material |= run
        material |= self.material(retriever.reads)
        return RunManifest(
            benchmark=self.setup.cfg.benchmark.name,
            language=self.task.language,
            retriever=name,
            settings=settings,
            inputs=inputs,
            **vars(material),
            model=self._model(retriever, settings),
            foreign=retriever.foreign(settings, self.task.language) if retriever.foreign else None,
            m3eval=__version__,
        )

    def _model(self, retriever: Retriever, settings: RetrieverSettings) -> dict[str, Any] | None:
        """What a model of the retriever's own is.

        Of precisions only int8 is told: runs of the others, which lie near each other, never had
        theirs recorded, and stay valid.
        """
        if not retriever.model:
            return None
        precision = {"precision": "int8"} if self.setup.runtime.precision == "int8" else {}
        return {**retriever.model(settings), **precision}

    def material(self, reads: frozenset[Material]) -> RestsOn:
        """What a retriever that reads so rests on, other runs aside."""
        material = RestsOn()
        if "stores" in reads:
            stores = together([lambda: self.sources.corpus, lambda: self.sources.queries])
            for store in stores:
                name, plan = store.path.name, store.plan
                dense = {name: plan.dense} if plan.dense else {}
                material |= RestsOn(
                    {name: store.digest}, {name: self.texts[name]}, plan.commits, dense
                )
            material |= RestsOn(encoder=stores[0].plan.encoder)
        if "texts" in reads:
            material |= RestsOn(texts=self.texts, commits=dict(self.task.commits))
        if "tokenizer" in reads:
            if self.setup.encoder.tokenization is None:
                raise UserError(
                    "A retriever counts the encoder's tokens, and those of "
                    f"{self.setup.encoder.name} are its library's own affair: use bm25 or bm25s, "
                    "or another encoder."
                )
            material |= RestsOn(encoder=encoder_identity(self.setup))
        return material

    @cached_property
    def texts(self) -> dict[str, TextIdentity]:
        """What the documents and queries are, by the name of their set."""
        identities = self.setup.once(ReadTexts).identities(self.task)
        return {texts.set: texts for texts in identities}

    def _open_store(self, texts: TextSet) -> Store:
        return open_store(self.setup, self.texts[texts.name], texts.role)

    def are_finished(self, names: Iterable[str]) -> bool:
        """Whether no file of these runs has to be made anew."""
        return not self.setup.cfg.overwrite and all(map(self._is_finished, names))

    def _is_finished(self, name: str) -> bool:
        """Whether the files of a run are as they were written, and of what is there now."""
        files = self.setup.layout.run(name, self.task.language)
        if not files.manifest.exists():
            return False
        try:
            recorded = finished.check(files)
        except UserError as error:
            self.damaged[name] = str(error)
            return False
        return not differences(recorded, self.expected(name))
