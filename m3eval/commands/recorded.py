"""The command that made a result, derived from the configuration that the result recorded.

A command is a composition to begin from, and words that turn it into what was recorded. The
shortest one is shown. It is data all along: nothing that a result names is imported or resolved.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from m3eval.config import CONFIG_DIR, compose
from m3eval.errors import UserError
from m3eval.manifests import Provenance
from m3eval.quoting import literal
from m3eval.reports.site.words import RecordedCommand

ABSENT = object()  # stands for a value that is to be given, or derived from one that is
Words = tuple[str, ...]
Place = tuple[str, ...]  # keys of a setting from the outermost on; a key may have dots in it


def command(provenance: Provenance) -> RecordedCommand:
    """The shortest command that gives the recorded configuration.

    Settings that did not exist when the result was made keep their defaults. Settings that were
    recorded and exist no longer are named in `RecordedCommand.gone`.
    """
    recorded = provenance.config
    commands = [changes(base, words, recorded) for words, base in beginnings(recorded)]
    words, gone = min(commands, key=lambda changed: (len(changed[1]), len(changed[0])))
    stages = ["embed"] if provenance.stores else []
    return RecordedCommand(words, [*stages, "search", "evaluate"], gone)


def beginnings(recorded: Mapping[str, Any]) -> Iterator[tuple[Words, DictConfig]]:
    """Words to begin with, and what they compose.

    The first name the experiment that is called like the benchmark, the second name the groups.
    Both name the recorded retrievers where the defaults are others.
    """
    benchmark, encoder = recorded["benchmark"], recorded["encoder"]
    groups = (
        f"benchmark={_choice('benchmark', benchmark, benchmark['source']['_target_'], 'folder')}",
        f"encoder={_choice('encoder', encoder, encoder['_target_'], 'pooled')}",
    )
    retrievers = f"retriever=[{','.join(recorded['retriever'])}]"
    for words in ((f"experiment={benchmark['name']}",), groups):
        base = _composed(words)
        if base is None:
            continue
        if list(base.retriever) != list(recorded["retriever"]):
            words = (*words, retrievers)
        yield from _without_defaults(words)


def _without_defaults(words: Words) -> Iterator[tuple[Words, DictConfig]]:
    """The composition of these words, and the words without those that name a default."""
    base = _composed(words)
    if base is None:  # a retriever of a private configuration tree
        return
    defaults = {"benchmark=miracl", "encoder=bge_m3"}
    short = tuple(word for word in words if word not in defaults)
    same = _composed(short)
    # Where no encoder is needed there is none, unless a word names it.
    agree = same is not None and same.encoder._target_ == base.encoder._target_
    yield (short if agree else words), base


@functools.cache
def _composed(words: Words) -> DictConfig | None:
    """What words compose; None where a word names something that does not exist."""
    try:
        return compose(*words)
    except UserError:
        return None


def _choice(group: str, node: Mapping[str, Any], target: str, default: str) -> str:
    """The choice of a group that made a recorded node: by its name, else by what it builds."""
    choices = _choices(group)
    for choice, (name, builds) in choices.items():
        if name == node["name"] and builds in (target, None):
            return choice
    return next((choice for choice, (_, builds) in choices.items() if builds == target), default)


@functools.cache
def _choices(group: str) -> dict[str, tuple[str | None, str | None]]:
    """Choice -> its name and what it builds."""
    choices = {}
    for path in sorted((CONFIG_DIR / group).glob("*.yaml")):
        file = OmegaConf.load(path)
        assert isinstance(file, DictConfig), path
        node = file.get(group, file)  # a file of the global package holds other groups too
        target = node.get("source", node).get("_target_")
        name = None if OmegaConf.is_missing(node, "name") else node.get("name")
        choices[path.stem] = (name, target)
    return choices


def changes(
    base: DictConfig, words: Words, recorded: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """The words that turn a composition into what was recorded.

    Args:
        base: the composition.
        words: the words that give it.
        recorded: a resolved configuration.

    Returns:
        All words, and the recorded settings that the composition does not have.
    """
    cfg, all_words = base.copy(), list(words)
    wanted = dict(_settings(recorded, base))
    gone = [place for place in wanted if _parent(cfg, place) is None]
    left = [place for place in wanted if place not in gone]

    def order(place: Place) -> tuple[bool, int]:
        # Settings that others are derived from come first, and outer settings before inner ones.
        parent = _parent(base, place)
        return parent is not None and OmegaConf.is_interpolation(parent, place[-1]), len(place)

    while differing := [place for place in left if _value(cfg, place) != wanted[place]]:
        place = min(differing, key=order)
        left.remove(place)
        parent = _parent(cfg, place)
        assert parent is not None
        parent[place[-1]] = wanted[place]
        all_words.append(f"{'.'.join(place)}={literal(wanted[place])}")
    return all_words, [".".join(place) for place in gone]


def _settings(node: Any, base: DictConfig, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Places and values of recorded settings; a mapping where the tree has null is one value."""
    parent = _parent(base, place) if place else None
    null = parent is not None and _is_null(parent, place[-1])
    if isinstance(node, Mapping) and node and not null:
        for key, value in node.items():
            yield from _settings(value, base, (*place, str(key)))
    else:
        yield place, node


def _is_null(parent: DictConfig, key: str) -> bool:
    derived = OmegaConf.is_interpolation(parent, key) or OmegaConf.is_missing(parent, key)
    return not derived and parent.get(key) is None


def _parent(cfg: DictConfig, place: Place) -> DictConfig | None:
    """The node that has a setting; None where the tree has no such setting."""
    node: Any = cfg
    for key in place[:-1]:
        # `in` is false for a key whose value is ???, `keys` has it.
        if not isinstance(node, DictConfig) or key not in list(node.keys()):
            return None
        node = node._get_node(key)  # unresolved
    known = isinstance(node, DictConfig) and place[-1] in list(node.keys())
    return node if known else None


def _value(cfg: DictConfig, place: Place) -> Any:
    parent = _parent(cfg, place)
    try:
        value = parent[place[-1]] if parent is not None else ABSENT
    except OmegaConfBaseException:
        return ABSENT
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
