"""Several systems on one benchmark: every stage for each of them, and one table that compares all.

A system is an encoder with a retriever, or a retriever alone that needs no encoder. The settings
and tables are those of `m3eval compare`. What a retriever builds on is searched too; what is
finished already is found finished.
"""

from __future__ import annotations

from collections.abc import Sequence

from m3eval.commands import compare
from m3eval.config import NO_ENCODER, Setup, check, compose, tree
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.reports import tracking
from m3eval.retrievers.retriever import with_inputs
from m3eval.stages import embed, evaluate, search


def run(setup: Setup) -> None:
    """Evaluates several systems on one benchmark and compares them.

    Args:
        setup: the configuration of the comparison, and the words that gave it. Each encoder's own
            configuration is composed of the same words.

    Raises:
        UserError: a system is not ENCODER/RETRIEVER, or whatever a stage refuses.
    """
    asked = by_encoder(setup)
    # All of them are checked before the first begins.
    stages = [
        check(compose(*words_for(setup, encoder, names), config="config"))
        for encoder, names in asked.items()
    ]
    tracking.require(setup.cfg.report_to)
    first = next(iter(asked))
    everything = [name for names in asked.values() for name in names]
    words = words_for(setup, first, everything, compares=True)
    # Its table states the first encoder's lengths, and names the encoders that have others.
    comparison = check(compose(*words, config="compare"))
    for stage in stages:
        say(f"\n== {stage.cfg.encoder.label}")
        if stage.needs_stores:
            embed.run(stage)
        search.run(stage)
        evaluate.run(stage)
    say("\n== all")
    compare.run(comparison)


def by_encoder(setup: Setup) -> dict[str, list[str]]:
    """For each encoder, as `encoder=` chooses it, the retrievers to search with.

    Raises:
        UserError: a system is no ENCODER/RETRIEVER, and no retriever that needs no encoder.
    """
    asked: dict[str, list[str]] = {}
    for system in compare.systems_asked_for(setup):
        encoder, _, name = system.label.rpartition("/")
        if "/" in encoder or name not in setup.cfg.retriever:
            raise UserError(
                f"systems: {system.label} is not ENCODER/RETRIEVER by their names under conf/."
            )
        names = with_inputs([name], setup.cfg.retriever.__getitem__)
        if not encoder:
            if any(setup.retrievers[each].needs_encoder for each in names):
                raise UserError(
                    f"systems: {name} needs an encoder: write ENCODER/{name}, as in "
                    f"e5_small_q4/{name}."
                )
            encoder = NO_ENCODER
        so_far = asked.setdefault(encoder, [])
        so_far += [each for each in names if each not in so_far]
    return asked


def words_for(
    setup: Setup, encoder: str, names: Sequence[str], compares: bool = False
) -> list[str]:
    """The words that compose the configuration of one encoder.

    Args:
        setup: has the words of the command line.
        encoder: a choice.
        names: of the retrievers to search with.
        compares: whether it is to hold the settings of a comparison, too.
    """
    of_comparison = {*tree.own_settings("compare"), "lineup"}
    words = []
    for word in setup.words:
        top, _, rest = word.lstrip("+~").partition("=")[0].partition(".")
        chooses = top in ("encoder", "retriever") and not rest
        elsewhere = top == "retriever" and rest.partition(".")[0] not in names
        if not chooses and not elsewhere and (compares or top not in of_comparison):
            words.append(word)
    chosen = [name for name in names if name in tree.choices("retriever")]  # others: by words
    return [*words, f"encoder={encoder}", f"retriever=[{','.join(chosen)}]"]
