"""Stage 1: stores -> runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from m3eval import __version__
from m3eval.benchmarks.task import Task, TextSet, passages, queries
from m3eval.config import Setup, builder
from m3eval.console import duration, say
from m3eval.embed import text_identity
from m3eval.errors import UserError, together
from m3eval.files import digest, read_json, write_json
from m3eval.retrievers.run import Run, read_run, without_self, write_run
from m3eval.retrievers.sources import Sources
from m3eval.stores.store import Store
from m3eval.stores.writer import differences


def run(setup: Setup) -> None:
    """Stage 1: search the stores and write runs"""
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"retrievers {', '.join(setup.cfg.retriever)}; on {setup.runtime}")
    searches = together([lambda task=task: LanguageSearch.open(setup, task) for task in setup.tasks])
    for search in searches:
        for name in setup.cfg.retriever:
            search.ensure(name)
        search.runs.clear()  # memory holds one language at a time


@dataclass
class LanguageSearch:
    """Makes the runs of one language, each once; a retriever that builds on another's run gets it from here."""

    setup: Setup
    task: Task
    corpus: Store
    queries: Store
    runs: dict[str, Run] = field(default_factory=dict)
    ensured: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, setup: Setup, task: Task) -> LanguageSearch:
        """Opens the two stores of a language.

        Raises:
            UserError: one is missing, unfinished or of other texts than the configuration says.
        """
        return cls(setup, task, *together([lambda texts=texts: open_store(setup, texts) for texts in text_sets(setup, task)]))

    def obtain(self, name: str) -> Run:
        """A retriever's run, searched now or read from its file."""
        self.ensure(name)
        if name not in self.runs:
            self.runs[name] = read_run(self.setup.run_path(name, self.task.language), self.queries.ids)
        return self.runs[name]

    def ensure(self, name: str) -> None:
        """Searches and writes a run, unless its file was made from the same stores and settings."""
        if name in self.ensured:
            return
        self.ensured.add(name)
        path, expected = self.setup.run_path(name, self.task.language), self.expected(name)
        manifest = path.with_suffix(".json")
        if not self.setup.cfg.overwrite and manifest.exists() and read_json(manifest) == expected:
            say(f"  found finished  {path}")
            return
        manifest.unlink(missing_ok=True)
        started = time.monotonic()
        self.runs[name] = self.search(name)
        write_run(path, self.runs[name], f"m3eval-{name}")
        write_json(manifest, expected)
        lists = [ranking.docids for ranking in self.runs[name].values()]
        empty = sum(not docids for docids in lists)
        took = duration(time.monotonic() - started)
        say(
            f"  written  {path}  {len(lists):,} queries, {sum(map(len, lists)):,} documents, {took}"
            + (f"; {empty:,} queries found nothing" if empty else "")
        )

    def search(self, name: str) -> Run:
        """Runs a retriever."""
        retriever = builder(self.setup.cfg.retriever[name])
        passage_texts, query_texts = text_sets(self.setup, self.task)
        sources = Sources(
            self.task.language,
            self.corpus,
            self.queries,
            passage_texts,
            query_texts,
            run=self.obtain,
            encoder=lambda: self.setup.encoder,
            search_block=self.setup.runtime.search_block,
        )
        found = retriever(sources)
        return without_self(found) if self.setup.retrieval.exclude_self else found

    def expected(self, name: str) -> dict[str, Any]:
        """All that decides a run: its retriever's settings, the stores, and the same of every run it builds on."""
        if name not in self.setup.cfg.retriever:
            raise UserError(f"A retriever builds on the run {name!r}: add it, as in retriever=[{name},...].")
        settings = run_settings(self.setup, name)
        return {
            "benchmark": self.setup.cfg.benchmark.name,
            "language": self.task.language,
            "retriever": name,
            "settings": settings,
            "inputs": {other: self.expected(other) for other in settings.get("inputs", [])},
            "stores": {store.path.name: digest(store.manifest) for store in (self.corpus, self.queries)},
            "encoder": self.corpus.plan["encoder"],
            "texts": {store.path.name: store.plan["texts"] for store in (self.corpus, self.queries)},
            "commits": self.corpus.plan["commits"] | self.queries.plan["commits"],
            "m3eval": __version__,
        }


def run_settings(setup: Setup, name: str) -> dict[str, Any]:
    """The settings that decide a run: its retriever's and the benchmark's rule about a query's own document."""
    settings = OmegaConf.to_container(setup.cfg.retriever[name], resolve=True)
    return settings | {"exclude_self": setup.retrieval.exclude_self}


def text_sets(setup: Setup, task: Task) -> tuple[TextSet, TextSet]:
    """Passages and queries of a language."""
    return passages(task.corpus, setup.rules), queries(task, setup.rules)


def open_store(setup: Setup, texts: TextSet) -> Store:
    """Opens the store of a text set and holds it against the configuration.

    Raises:
        UserError: it is missing, unfinished, or of other texts.
    """
    store = Store(setup.store_path(texts.name))
    found = {key: value for key, value in store.plan["texts"].items() if key not in ("count", "sha256")}
    if lines := differences(found, text_identity(setup, texts)):
        raise UserError(f"The store {store.path} is of other texts than configured now:\n  " + "\n  ".join(lines))
    return store
