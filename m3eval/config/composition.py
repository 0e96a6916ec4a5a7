"""Words -> the configuration that they mean, with what follows from them filled in."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from m3eval import kinds, tuned
from m3eval.benchmarks.hub_set import is_folder
from m3eval.config import imported, schema, tree
from m3eval.config.words import SEVERAL, Word, chosen, fitted, read, whole
from m3eval.errors import UserError
from m3eval.quoting import literal
from m3eval.retrievers.retriever import find, with_inputs

NO_ENCODER = "none"  # the choice of an encoder where no retriever needs one, and nobody asks


def named_by(source: str) -> str:
    """The name of a benchmark that is given by what it reads.

    That is a folder, or a name such as mteb/scifact.
    """
    parts = [part for part in source.split("/") if part]
    return parts[-1] if is_folder(source) and parts else "-".join(parts)


OmegaConf.register_new_resolver("named_by", named_by, replace=True)
OmegaConf.register_new_resolver("last_of", lambda name: name.rpartition("/")[2], replace=True)


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
    choosing = [word for word in words if word.key in groups]
    setting = [word for word in words if word.key not in groups]
    adding = {word.top for word in setting if word.sign == "+" and word.key != word.top}
    choices = _choices(choosing, adding, problems)
    broken = {word.key for word in choosing} - choices.keys()
    cfg = _composed(choices, config)
    notes = []
    if "retriever" in groups and "retriever" not in broken:
        names = [str(name) for name in cfg.retriever]
        complete = _attempt(problems, _completed, names, cfg, setting) or names
        if complete != names:
            more = ", ".join(name for name in complete if name not in names)
            notes.append(f"retrievers added, for others build on them: {more}")
            choices["retriever"] = literal(complete)
            cfg = _composed(choices, config)
    settings, kind_of = tree.plain(cfg, resolve=False), functools.partial(schema.kind_of, cfg)
    changes = [
        change
        for word in setting
        if word.top not in broken
        and (change := _attempt(problems, fitted, word, settings, groups, kind_of))
    ]
    if problems:
        for change in changes:  # what is wrong with the others' values, in the same go
            problems += kinds.problems(change.parsed, kind_of(change.key), change.key)
        raise UserError("\n".join(dict.fromkeys(problems)))
    if "encoder" in groups and not any(word.top == "encoder" for word in words):
        targets = [node._target_ for node in cfg.retriever.values()]
        if not any(find(target).needs_encoder for target in targets):
            choices["encoder"] = NO_ENCODER
            cfg = _composed(choices, config)
    for change in changes:
        _apply(cfg, change)
    if "retriever" in groups:
        imported.complete(cfg, tree.choices("retriever"))
    raw = cfg.copy()
    if "retriever" in groups:
        tuned.apply(cfg)
    hydra_words = [f"{word.key}={choices[word.key]}" for word in choosing]
    return Composition(cfg, (*hydra_words, *(change.text for change in changes)), raw, tuple(notes))


def _choices(words: Sequence[Word], adding: set[str], problems: list[str]) -> dict[str, str]:
    """Group -> what is chosen of it, as Hydra reads it, of those words that are right.

    Args:
        words: that choose.
        adding: groups to which other words add, so that nothing need be chosen of them.
        problems: gets what is wrong with the others.
    """
    choices: dict[str, str] = {}
    for group in dict.fromkeys(word.key for word in words):
        first, *others = [word for word in words if word.key == group]
        if others:
            problems.append(f"{group}= is given {1 + len(others)} times: give it once.")
        elif checked := _attempt(problems, chosen, first, group, group in adding):
            choices[group] = checked.value
    return choices


def _composed(choices: Mapping[str, str], config: str) -> DictConfig:
    """What Hydra composes of choices.

    Raises:
        UserError: it cannot.
    """
    private = [f"file://{folder}" for folder in tree.private_folders()]
    words = [f"{group}={choice}" for group, choice in choices.items()]
    words += [f"hydra.searchpath={literal(private)}"] if private else []
    with _said(), hydra.initialize_config_dir(str(tree.CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose(config, overrides=words)
    for group in SEVERAL:
        if group in tree.groups(config) and group not in cfg:  # nothing is chosen of it
            with open_dict(cfg):
                cfg[group] = {}
    return cfg


def _apply(cfg: DictConfig, change: Word) -> None:
    """Makes the change of a word that sets, adds or removes something.

    Raises:
        UserError: it cannot be made.
    """
    with _said(), open_dict(cfg):
        if change.sign == "~":
            above, _, last = change.key.rpartition(".")
            del (OmegaConf.select(cfg, above) if above else cfg)[last]
        else:
            OmegaConf.update(cfg, change.key, change.parsed, merge=True)


@contextmanager
def _said() -> Iterator[None]:
    """What Hydra finds wrong is raised as a UserError."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"The configuration cannot be composed: {error}") from error


def _attempt(problems: list[str], function: Any, *arguments: Any) -> Any:
    """What a function returns; None where it raises a UserError, whose message is noted."""
    try:
        return function(*arguments)
    except UserError as error:
        problems.append(str(error))
        return None


def _completed(names: Sequence[str], cfg: DictConfig, words: Sequence[Word]) -> list[str]:
    """Retrievers and, before those that need them, all that they build on.

    Raises:
        UserError: one builds on a retriever that does not exist, or on itself.
    """
    given = {word.key: word for word in words}

    def settings(name: str) -> Any:
        if word := given.get(f"retriever.{name}.inputs"):
            values = [item.parsed for item in word.each()]
            return {"inputs": values[0] if isinstance(values[0], list) else values}
        if name in cfg.retriever:
            return cfg.retriever[name]
        if name not in tree.choices("retriever"):
            raise UserError(
                f"A retriever builds on {name}, which does not exist. m3eval list retrievers says "
                "which do."
            )
        return OmegaConf.load(tree.path_of(f"retriever/{name}"))

    order = with_inputs(names, settings)
    return list(names) if len(order) == len(names) else order
