"""The runs of one language: what each rests on, and whether its file must be made anew."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from m3eval import __version__
from m3eval.benchmarks.counts import compare_counts
from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import TextSet, text_sets
from m3eval.comparable import differences
from m3eval.config import Setup, builder
from m3eval.console import duration, say
from m3eval.errors import UserError, together
from m3eval.files import write_json
from m3eval.manifests import DenseStorage, EncoderIdentity, RunCost, RunManifest, TextIdentity
from m3eval.records import plain, read
from m3eval.retrievers.retriever import Material, find
from m3eval.retrievers.run import Run, read_run, without_self, write_run
from m3eval.retrievers.sources import Sources
from m3eval.stages.identity import encoder_identity, retriever_settings, text_identity
from m3eval.stages.trust import open_store


class ReadTexts:
    """The identities of text sets, count and hash included; each set is read through once."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.known: dict[str, TextIdentity] = {}  # languages may share a corpus

    def of(self, texts: TextSet) -> TextIdentity:
        """What a text set is. Raises UserError where ids are unfit."""
        if texts.name not in self.known:
            census = texts.census()
            if remark := census.remark(texts.name):
                say(remark)
            self.known[texts.name] = text_identity(self.setup, texts, census)
        return self.known[texts.name]


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

    def __init__(self, setup: Setup, task: Task, read_texts: ReadTexts) -> None:
        self.setup, self.task, self.read_texts = setup, task, read_texts
        self.in_memory: dict[str, Run] = {}
        self.manifests: dict[str, RunManifest] = {}

    @cached_property
    def sources(self) -> Sources:
        """What the retrievers of this language read."""
        documents, queries = text_sets(self.task, self.setup.rules)
        return Sources(
            self.task.language,
            self.task.corpus.language or self.task.corpus.name,
            documents,
            queries,
            open_store=lambda texts: open_store(self.setup, texts),
            run=self.run,
            encoder=lambda: self.setup.encoder,
            runtime=self.setup.runtime,
            scratch=self.setup.layout.scratch / documents.name,
        )

    def run(self, name: str) -> Run:
        """A finished run, from memory or from its file."""
        if name not in self.in_memory:
            qids = [query.qid for query in self.task.queries]
            self.in_memory[name] = read_run(
                self.setup.layout.run(name, self.task.language).trec, qids
            )
        return self.in_memory[name]

    def make(self, name: str) -> None:
        """Searches and writes a run, unless its file rests on the same material and settings."""
        files = self.setup.layout.run(name, self.task.language)
        if not self.setup.cfg.overwrite and self._is_finished(name):
            say(f"  found finished  {files.trec}")
            return
        started = time.monotonic()
        run: Run = builder(self.setup.cfg.retriever[name])(self.sources)
        run = without_self(run) if self.setup.retrieval.exclude_self else run
        self.in_memory[name] = run
        files.manifest.unlink(missing_ok=True)  # not before: what was there outlives a failure
        write_run(files, run, f"m3eval-{name}")
        seconds = time.monotonic() - started
        write_json(files.cost, plain(RunCost(len(run), seconds, str(self.setup.runtime))))
        write_json(files.manifest, plain(self.expected(name)))
        documents = sum(len(ranking.docids) for ranking in run.values())
        empty = sum(not ranking.docids for ranking in run.values())
        say(
            f"  written  {files.trec}  {len(run):,} queries, {documents:,} documents, "
            + duration(seconds)
            + (f"; {empty:,} queries found nothing" if empty else "")
        )

    def expected(self, name: str) -> RunManifest:
        """All that decides a run: its settings, what it reads, and the runs that it builds on.

        Raises:
            UserError: a store is missing, unfinished or of other texts; counts of texts are not the
                published ones; or the retriever builds on one that is not configured.
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
            model=retriever.model(settings) if retriever.model else None,
            m3eval=__version__,
        )

    def material(self, reads: frozenset[Material]) -> RestsOn:
        """What a retriever that reads so rests on, other runs aside."""
        material = RestsOn()
        if "stores" in reads:
            stores = together([lambda: self.sources.corpus, lambda: self.sources.queries])
            for store in stores:
                name, plan = store.path.name, store.plan
                dense = {name: plan.dense} if plan.dense else {}
                material |= RestsOn({name: store.digest}, {name: plan.texts}, plan.commits, dense)
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
        """What the documents and queries are, by the name of their set.

        Raises:
            UserError: ids are unfit, or counts are not the published ones.
        """
        documents, queries = map(self.read_texts.of, text_sets(self.task, self.setup.rules))
        count = documents.count or 0
        remark = compare_counts(self.task, count, self.setup.cfg.benchmark.subset)
        say(
            f"  {self.task.language}: {count:,} documents, {queries.count:,} queries, "
            f"{len(self.task.judged):,} judged" + (f" (subset: {remark})" if remark else "")
        )
        return {texts.set: texts for texts in (documents, queries)}

    def are_finished(self, names: Iterable[str]) -> bool:
        """Whether no file of these runs has to be made anew."""
        return not self.setup.cfg.overwrite and all(map(self._is_finished, names))

    def _is_finished(self, name: str) -> bool:
        """Whether the file of a run was made from what is there now."""
        files = self.setup.layout.run(name, self.task.language)
        if not files.manifest.exists():
            return False
        try:
            recorded = read(files.manifest, RunManifest)
        except UserError:  # a damaged record tells nothing of the run: it is made again
            return False
        return not differences(recorded, self.expected(name))
