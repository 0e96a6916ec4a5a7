"""One share of stage 1: lists of its part of the shards, from every retriever that can."""

from __future__ import annotations

from functools import partial

from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.retrievers.retriever import with_inputs
from m3eval.runtime import Share
from m3eval.stages.language import LanguageRuns
from m3eval.stages.texts import ReadTexts


def run(setup: Setup, share: Share) -> None:
    """Searches a part of each corpus, for the runs that are to be made.

    Raises:
        UserError: no retriever searches parts, or something is missing that they read.
    """
    say(f"benchmark  {setup.title}, languages {', '.join(setup.languages)}")
    names = searched_in_parts(setup)
    if not names:
        raise UserError(
            f"runtime.share={share}: none of {', '.join(setup.cfg.retriever)} searches a part of a "
            "corpus by itself, run `m3eval search` without it (docs/scale.md tells which do)."
        )
    say(f"retrievers {', '.join(names)}; share {share}; on {setup.runtime}")
    languages = [LanguageRuns(setup, task) for task in setup.tasks]
    read_texts = setup.once(ReadTexts)
    surveys = [lambda task=task: read_texts.survey(task) for task in setup.tasks]
    pairs = [(language, name) for language in languages for name in names]
    together([*surveys, *(partial(language.expected, name) for language, name in pairs)])
    for language, name in pairs:
        language.make_part(name, share)
    say(
        f"share {share} is done. Once all {share.of} are, `m3eval search` with the same words "
        "merges them and makes what builds on them."
    )


def searched_in_parts(setup: Setup) -> list[str]:
    """The retrievers, with those that others build on, that search parts of a corpus."""
    configured = setup.cfg.retriever
    names = with_inputs(map(str, configured), lambda name: configured.get(name) or {})
    return [
        name
        for name in names
        if name in configured
        and (asked := setup.retrievers[name].partitioned)
        and asked(configured[name])
    ]
