"""Stage 1: stores, or texts for retrievers without an encoder -> runs."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable

from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import together
from m3eval.stages.language import LanguageRuns, ReadTexts
from m3eval.stores.cache import VectorCache


def run(setup: Setup) -> None:
    """Stage 1: search and write runs"""
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    say(f"retrievers {', '.join(setup.cfg.retriever)}; on {setup.runtime}")
    read_texts = ReadTexts(setup)
    languages = [LanguageRuns(setup, task, read_texts) for task in setup.tasks]
    names = inputs_first(setup)
    # Whatever any of them lacks is said before the first begins.
    together(
        [
            lambda language=language, name=name: language.expected(name)
            for language in languages
            for name in names
        ]
    )
    scratch = setup.layout.scratch
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run's
    try:
        for folder, sharing in itertools.groupby(languages, lambda each: each.sources.scratch):
            search_corpus(setup, list(sharing), names)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def search_corpus(setup: Setup, sharing: list[LanguageRuns], names: Iterable[str]) -> None:
    """Makes the runs of the languages that search one corpus; its indexes serve all of them."""
    if len(sharing) > 1:
        cache = VectorCache(sharing[0].sources.scratch, setup.runtime.vector_cache)
        for language in sharing:
            language.sources.cache = cache
    for language in sharing:
        for name in names:
            language.make(name)
        language.in_memory.clear()  # memory holds one language at a time


def inputs_first(setup: Setup) -> list[str]:
    """The configured retrievers, each after those it builds on."""
    order: dict[str, None] = {}

    def add(name: str) -> None:
        if name in setup.cfg.retriever:  # one that is not configured is refused later, by name
            for other in setup.cfg.retriever[name].get("inputs") or []:
                add(other)
        order[name] = None

    for name in setup.cfg.retriever:
        add(str(name))
    return list(order)
