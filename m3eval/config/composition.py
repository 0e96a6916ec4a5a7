"""Words -> the configuration that they mean, with what follows from them filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from m3eval import tuned
from m3eval.config import tree
from m3eval.config.words import Word, chosen, fitted, read, whole
from m3eval.errors import UserError
from m3eval.quoting import literal
from m3eval.retrievers.retriever import find, with_inputs

NO_ENCODER = "none"  # the choice of an encoder where no retriever needs one, and nobody asks


@dataclass(frozen=True)
class Composition:
    """A configuration and how it came about."""

    cfg: DictConfig
    words: tuple[str, ...]  # as Hydra reads them, without what follows from them
    raw: DictConfig  # as composed, before weights were read from files
    notes: tuple[str, ...]  # what followed from the words, a line each


def compose(*words: str, config: str = "config") -> DictConfig:
    """The configuration that these words give.

    Args:
        words: as on a command line: setting=value, group=choice.
        config: a file at the top of the tree: config for the stages, or a command's own.

    Raises:
        UserError: lists every word that is wrong.
    """
    return composition(words, config).cfg


def composition(written: Sequence[str], config: str = "config") -> Composition:
    """The configuration that words give, and how.

    Retrievers that others build on come in before these. Without a retriever that needs an
    encoder there is none, unless a word speaks of one. Weights of `weights_from` are read.

    Args:
        written: as on a command line.
        config: a file at the top of the tree.

    Raises:
        UserError: lists every word that is wrong.
    """
    problems: list[str] = []
    words = [word for text in whole(written) if (word := _attempt(problems, read, text))]
    groups = tree.groups(config)
    choosing = [word for word in words if word.key in groups and not word.sign]
    setting = [word for word in words if word not in choosing]
    twice = {word.key for word in choosing if sum(word.key == other.key for other in choosing) > 1}
    problems += [f"{key}= is given twice: give it once." for key in sorted(twice)]
    good = [
        checked
        for word in choosing
        if word.key not in twice and (checked := _attempt(problems, chosen, word, word.key))
    ]
    failed = {word.key for word in choosing} - {word.key for word in good}
    follow, notes = [], []
    base = _hydra([word.text for word in good], config)
    if "retriever" in groups and "retriever" not in failed:
        names = list(base.retriever)
        complete = _attempt(problems, _completed, base, setting) or names
        if complete != names:
            more = [name for name in complete if name not in names]
            notes.append(f"retrievers added, for others build on them: {', '.join(more)}")
            follow.append(f"retriever={literal(complete)}")
            base = _hydra(_with(good, follow), config)
        if not any(word.top == "encoder" for word in words) and not any(
            find(node._target_).needs_encoder for node in base.retriever.values()
        ):
            follow.append(f"encoder={NO_ENCODER}")
            base = _hydra(_with(good, follow), config)
    plain = OmegaConf.to_container(base)
    assert isinstance(plain, dict)
    changing = [
        checked
        for word in setting
        if word.top not in failed and (checked := _attempt(problems, fitted, word, plain, groups))
    ]
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    raw = _hydra([*_with(good, follow), *(word.text for word in changing)], config)
    cfg = raw.copy()
    if "retriever" in groups:
        tuned.apply(cfg)
    said = {word.written: word.text for word in [*good, *changing]}
    return Composition(cfg, tuple(said[word.written] for word in words), raw, tuple(notes))


def _attempt(problems: list[str], function: Any, *arguments: Any) -> Any:
    """What a function returns; None where it raises a UserError, whose message is noted."""
    try:
        return function(*arguments)
    except UserError as error:
        problems.append(str(error))
        return None


def _with(words: Iterable[Word], follow: Sequence[str]) -> list[str]:
    """Words of choices, with those that follow from them in place of the user's."""
    replaced = {text.partition("=")[0] for text in follow}
    return [*(word.text for word in words if word.key not in replaced), *follow]


def _completed(base: DictConfig, words: Sequence[Word]) -> list[str]:
    """The configured retrievers and, before those that need them, all that they build on."""
    given = {word.key: word for word in words}

    def settings(name: str) -> Any:
        if word := given.get(f"retriever.{name}.inputs"):
            values = [item.parsed for item in word.each()]
            return {"inputs": values[0] if isinstance(values[0], list) else values}
        if name in base.retriever:
            return base.retriever[name]
        if name not in tree.choices("retriever"):
            raise UserError(
                f"A retriever builds on {name}, which does not exist. m3eval list retrievers says "
                "which do."
            )
        return OmegaConf.load(tree.path_of(f"retriever/{name}"))

    names = [str(name) for name in base.retriever]
    order = with_inputs(names, settings)
    return names if len(order) == len(names) else order


def _hydra(words: Iterable[str], config: str) -> DictConfig:
    """What Hydra composes.

    Raises:
        UserError: it cannot.
    """
    private = [f"file://{folder}" for folder in tree.private_folders()]
    searched = [f"hydra.searchpath={literal(private)}"] if private else []
    try:
        with hydra.initialize_config_dir(str(tree.CONFIG_DIR), version_base="1.3"):
            return hydra.compose(config, overrides=[*words, *searched])
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        lines = [line for line in str(error).splitlines() if not line.startswith("To append")]
        raise UserError(f"The configuration cannot be composed: {' '.join(lines)}") from error
