"""Stage 1: stores, or texts for retrievers without an encoder -> runs."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf

from m3eval import __version__
from m3eval.benchmarks.task import Task, TextSet, compare_counts, document_texts, query_texts
from m3eval.config import Setup, builder
from m3eval.console import duration, say
from m3eval.errors import UserError, together
from m3eval.files import digest, write_json
from m3eval.manifests import read_record
from m3eval.retrievers.retriever import find
from m3eval.retrievers.run import Run, read_run, without_self, write_run
from m3eval.retrievers.sources import Sources
from m3eval.stages.embed import text_identity
from m3eval.stores import compression
from m3eval.stores.cache import VectorCache
from m3eval.stores.store import Store
from m3eval.stores.writer import differences

SCRATCH = "scratch"  # folder of indexes, which languages that share a corpus share; nothing of it outlives the stage
MERGED = ("stores", "texts", "commits", "compression")  # of what runs rest on


def run(setup: Setup) -> None:
    """Stage 1: search and write runs"""
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"retrievers {', '.join(setup.cfg.retriever)}; on {setup.runtime}")
    identities: dict[str, dict[str, Any]] = {}
    searches = [LanguageSearch(setup, task, identities) for task in setup.tasks]
    names = list(setup.cfg.retriever)
    # Whatever any of them lacks is said before the first begins.
    together(
        [
            lambda search=search, name=name: search.expected(name)
            for search in searches
            for name in names
        ]
    )
    shutil.rmtree(setup.folder / SCRATCH, ignore_errors=True)  # a killed run's
    try:
        for scratch, sharing in itertools.groupby(
            searches, key=lambda search: search.sources.scratch
        ):
            several = list(sharing)
            cache = VectorCache(scratch, setup.runtime.vector_cache) if len(several) > 1 else None
            for search in several:
                search.sources.cache = cache
                for name in names:
                    search.ensure(name)
                search.runs.clear()  # memory holds one language at a time
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        shutil.rmtree(setup.folder / SCRATCH, ignore_errors=True)


@dataclass
class LanguageSearch:
    """Makes the runs of one language, each once; a retriever that builds on another's run gets it from here."""

    setup: Setup
    task: Task
    identities: dict[
        str, dict[str, Any]
    ]  # of text sets that were read, by name; languages may share a corpus
    runs: dict[str, Run] = field(default_factory=dict)
    ensured: set[str] = field(default_factory=set)

    @cached_property
    def sources(self) -> Sources:
        """What the retrievers of this language read."""
        documents = document_texts(self.task.corpus, self.setup.rules)
        return Sources(
            self.task.language,
            self.task.corpus.language or self.task.corpus.name,
            documents,
            query_texts(self.task, self.setup.rules),
            open_store=lambda texts: open_store(self.setup, texts),
            run=self.obtain,
            encoder=lambda: self.setup.encoder,
            runtime=self.setup.runtime,
            scratch=self.setup.folder / SCRATCH / documents.name,
        )

    def obtain(self, name: str) -> Run:
        """A retriever's run, searched now or read from its file."""
        self.ensure(name)
        if name not in self.runs:
            self.runs[name] = read_run(
                self.setup.run_path(name, self.task.language),
                [query.qid for query in self.task.queries],
            )
        return self.runs[name]

    def ensure(self, name: str) -> None:
        """Searches and writes a run, unless its file was made from the same material and settings."""
        if name in self.ensured:
            return
        self.ensured.add(name)
        path, expected = self.setup.run_path(name, self.task.language), self.expected(name)
        manifest = path.with_suffix(".json")
        if not self.setup.cfg.overwrite and manifest.exists() and read_record(manifest) == expected:
            say(f"  found finished  {path}")
            return
        manifest.unlink(missing_ok=True)
        started = time.monotonic()
        found = builder(self.setup.cfg.retriever[name])(self.sources)
        self.runs[name] = without_self(found) if self.setup.retrieval.exclude_self else found
        write_run(path, self.runs[name], f"m3eval-{name}")
        seconds = time.monotonic() - started
        cost = {"queries": len(found), "seconds": seconds, "runtime": str(self.setup.runtime)}
        write_json(path.with_suffix(".cost.json"), cost)
        write_json(manifest, expected)
        lists = [ranking.docids for ranking in self.runs[name].values()]
        empty = sum(not docids for docids in lists)
        say(
            f"  written  {path}  {len(lists):,} queries, {sum(map(len, lists)):,} documents, {duration(seconds)}"
            + (f"; {empty:,} queries found nothing" if empty else "")
        )

    def expected(self, name: str) -> dict[str, Any]:
        """All that decides a run: its retriever's settings, what that reads, and the same of every run it builds on.

        Raises:
            UserError: a store is missing, unfinished or of other texts; counts of texts are not the published ones; or
                the retriever builds on one that is not configured.
        """
        if name not in self.setup.cfg.retriever:
            raise UserError(
                f"A retriever builds on the run {name!r}: add it, as in retriever=[{name},...]."
            )
        settings = run_settings(self.setup, name)
        inputs = {other: self.expected(other) for other in settings.get("inputs", [])}
        retriever = find(self.setup.cfg.retriever[name]._target_)
        rests_on = merged([*inputs.values(), self.material(retriever.reads)])
        if not rests_on["compression"]:
            del rests_on["compression"]
        model = {"model": retriever.model(settings)} if retriever.model else {}
        return {
            "benchmark": self.setup.cfg.benchmark.name,
            "language": self.task.language,
            "retriever": name,
            "settings": settings,
            "inputs": inputs,
            **rests_on,
            **model,
            "m3eval": __version__,
        }

    def material(self, reads: frozenset[str]) -> dict[str, Any]:
        """What a retriever that reads so rests on, other runs aside."""
        found: dict[str, Any] = {
            "stores": {},
            "texts": {},
            "commits": {},
            "compression": {},
            "encoder": None,
        }
        if "stores" in reads:
            stores = together([lambda: self.sources.corpus, lambda: self.sources.queries])
            found["stores"] = {store.path.name: digest(store.manifest) for store in stores}
            found["texts"] = {store.path.name: store.plan["texts"] for store in stores}
            found["commits"] = {
                name: commit for store in stores for name, commit in store.plan["commits"].items()
            }
            found["encoder"] = stores[0].plan["encoder"]
            found["compression"] = {
                store.path.name: store.plan["dense"] for store in stores if "dense" in store.plan
            }
        if "texts" in reads:
            found["texts"], found["commits"] = self.texts, dict(self.task.commits)
        if "tokenizer" in reads:
            if self.setup.encoder.tokenization is None:
                raise UserError(
                    f"A retriever counts the encoder's tokens, and those of {self.setup.encoder.name} are its library's "
                    "own affair: use bm25 or bm25s, or another encoder."
                )
            found["encoder"] = {"name": self.setup.encoder.name} | self.setup.encoder.identity
        return found

    @cached_property
    def texts(self) -> dict[str, Any]:
        """What the two text sets are, count and hash included, by name. Each is read through once.

        Raises:
            UserError: ids are unfit, or counts are not the published ones.
        """
        sets = (self.sources.document_texts, self.sources.query_texts)
        for texts in sets:
            if texts.name not in self.identities:
                self.identities[texts.name] = text_identity(self.setup, texts, texts.census())
        corpus, asked = (self.identities[texts.name] for texts in sets)
        remark = compare_counts(self.task, corpus["count"], self.setup.cfg.benchmark.subset)
        counts = f"{corpus['count']:,} documents, {asked['count']:,} queries, {len(self.task.judged):,} judged"
        say(f"  {self.task.language}: {counts}" + (f" (subset: {remark})" if remark else ""))
        return {texts.name: self.identities[texts.name] for texts in sets}


def run_settings(setup: Setup, name: str) -> dict[str, Any]:
    """The settings that decide a run: its retriever's and the benchmark's rule about a query's own document."""
    settings = OmegaConf.to_container(setup.cfg.retriever[name], resolve=True)
    return settings | {"exclude_self": setup.retrieval.exclude_self}


def merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What runs and material rest on, together; at most one of them has another encoder than None, or all the same."""
    found: dict[str, Any] = {key: {} for key in MERGED} | {"encoder": None}
    for part in parts:
        for key in MERGED:
            found[key] |= part.get(key, {})
        found["encoder"] = part["encoder"] or found["encoder"]
    return found


def open_store(setup: Setup, texts: TextSet) -> Store:
    """Opens the store of a text set and holds it against the configuration.

    Raises:
        UserError: it is missing, unfinished, or of other texts.
    """
    store = Store(setup.store_path(texts.name))
    if lines := differences(store.plan["texts"], text_identity(setup, texts), {"count", "sha256"}):
        raise UserError(
            f"The store {store.path} is of other texts than configured now:\n  "
            + "\n  ".join(lines)
        )
    if "dense" in store.plan["representations"]:
        kept, wanted = (
            {"dense": {}} | found
            for found in (store.plan, compression.planned(setup.cfg.store.dense, texts.role))
        )
        if lines := differences(kept["dense"], wanted["dense"], where="store.dense"):
            raise UserError(
                f"The store {store.path} keeps its vectors otherwise than configured now:\n  "
                + "\n  ".join(lines)
                + "\nUse the settings of stage 0, or run step0_embed.py with overwrite=true."
            )
    return store
