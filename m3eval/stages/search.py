"""Stage 1: stores, or texts for retrievers without an encoder -> runs.

With `runtime.share` one of several processes, each started by hand, that search parts of corpora;
whoever then runs it without merges these. Several processes and Ray do both by themselves.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import sweep
from m3eval.locks import held, own_folder
from m3eval.retrievers.retriever import with_inputs
from m3eval.stages import search_share
from m3eval.stages.executors import parts
from m3eval.stages.language import LanguageRuns
from m3eval.stages.texts import ReadTexts
from m3eval.stores.cache import VectorCache

WORK = "m3eval search"  # what locks say


def run(setup: Setup) -> None:
    """Stage 1: search and write runs"""
    if share := setup.runtime.share:
        if setup.cfg.overwrite:  # which share would be the one that removes what is there?
            raise UserError(
                f"runtime.share={share} and overwrite=true do not go together: run `m3eval search "
                "overwrite=true` without runtime.share=, or choose another output_dir=."
            )
        search_share.run(setup, share)
        return
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    on = f"; on {setup.runtime}" if setup.needs_encoder else ""
    say(f"retrievers {', '.join(setup.cfg.retriever)}{on}")
    languages = [LanguageRuns(setup, task) for task in setup.tasks]
    retrievers = setup.cfg.retriever
    # An input that is not configured is refused below, by its name.
    names = with_inputs(map(str, retrievers), lambda name: retrievers.get(name) or {})
    # All that the retrievers lack is said before the first of them begins.
    read_texts = setup.once(ReadTexts)
    surveys = [lambda task=task: read_texts.survey(task) for task in setup.tasks]
    runs = [
        lambda language=language, name=name: language.expected(name)
        for language in languages
        for name in names
    ]
    together([*surveys, *runs])
    todo = [language for language in languages if not language.are_finished(names)]
    scratch = setup.layout.scratch
    # A killed process may have left its own there, with all runs finished.
    own = own_folder(scratch, WORK) if todo or scratch.exists() else nullcontext(scratch)
    with locked(setup, todo, names), own as scratch:
        spread(setup, todo)
        for language in languages:
            language.sources.scratch = scratch / language.sources.document_texts.name
        for folder, sharing in itertools.groupby(languages, lambda each: each.sources.scratch):
            search_corpus(setup, list(sharing), names)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(setup: Setup, languages: Sequence[LanguageRuns], names: Sequence[str]) -> Iterator[None]:
    """Lets no other process make these runs, and removes what killed ones left of them.

    What a run builds on is among them: it must not change meanwhile. Who comes second waits for the
    first, and finds finished what that made. All take locks in one order, so nobody waits for ever.
    """
    with ExitStack() as stack:
        pairs = itertools.product(languages, names)
        runs = [setup.layout.run(name, language.task.language) for language, name in pairs]
        for run in sorted(runs, key=lambda run: run.lock):
            stack.enter_context(held(run.lock, f"The run {run.trec}", WORK, say))
            sweep(run.trec.parent, run.names)
        yield


def spread(setup: Setup, todo: Sequence[LanguageRuns]) -> None:
    """Has parts of corpora searched by several, where the runtime has several; see `parts`."""
    names = search_share.searched_in_parts(setup)
    missing = [(each, name) for each in todo for name in names if not each.are_finished([name])]
    if setup.cfg.overwrite:
        for language, name in missing:
            language.partitions(name).remove()
    if setup.runtime.processes == 1 and setup.runtime.executor == "local":
        return
    most = max((parts.most(setup, each.sources.corpus, name) for each, name in missing), default=0)
    if most > 1:
        parts.search(setup, most)


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
