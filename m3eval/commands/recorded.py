"""The command that made a result, derived from the configuration that it recorded and checked against it."""

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
from m3eval.reports.site.words import Command

ABSENT = object()
Way = tuple[str, ...]  # keys of a setting from the outermost on; a key may have dots in it


def command(provenance: Provenance) -> Command:
    """The shortest of the commands that give the recorded configuration.

    Settings that did not exist when the result was made keep their defaults; those that exist no longer are named.

    Args:
        provenance: of a `scores.json`.
    """
    recorded = provenance.config
    found = [_words(base, given, recorded) for base, given in _bases(recorded)]
    words, gone = min(found, key=lambda one: (len(one[1]), len(one[0])))
    stages = ["embed"] if provenance.stores else []
    return Command(words, [*stages, "search", "evaluate"], gone)


def _bases(recorded: Mapping[str, Any]) -> Iterator[tuple[DictConfig, tuple[str, ...]]]:
    """Compositions to begin from: an experiment called like the benchmark, and the groups themselves."""
    benchmark, encoder = recorded["benchmark"], recorded["encoder"]
    chosen = (
        f"benchmark={_choice('benchmark', benchmark, benchmark['source']['_target_'], 'folder')}",
        f"encoder={_choice('encoder', encoder, encoder['_target_'], 'pooled')}",
    )
    names = ",".join(recorded["retriever"])
    for first in ((f"experiment={benchmark['name']}",), chosen):
        if (
            first[0].startswith("experiment=")
            and not (CONFIG_DIR / "experiment" / f"{benchmark['name']}.yaml").exists()
        ):
            continue
        for given in (first, (*first, f"retriever=[{names}]")):
            base = _compose(given)
            if base is not None and list(base.retriever) == list(recorded["retriever"]):
                defaults = {
                    f"benchmark={_DEFAULTS['benchmark']}",
                    f"encoder={_DEFAULTS['encoder']}",
                }
                short = tuple(word for word in given if word not in defaults)
                same = _compose(short)  # without its word there is no encoder where none is needed
                agree = same is not None and same.encoder.name == base.encoder.name
                yield base, short if agree else given
                break


_DEFAULTS = {"benchmark": "miracl", "encoder": "bge_m3"}


@functools.cache
def _compose(words: tuple[str, ...]) -> DictConfig | None:
    try:
        return compose(*words)
    except UserError:  # a retriever of a private configuration tree
        return None


@functools.cache
def _targets(group: str) -> dict[str, tuple[str | None, str | None]]:
    """Choice -> its name and what it builds."""
    found = {}
    for path in sorted((CONFIG_DIR / group).glob("*.yaml")):
        file = OmegaConf.load(path)
        node = file.get(group, file)  # of the global package, as what changes other groups too is
        target = node.get("source", node).get("_target_")
        name = None if OmegaConf.is_missing(node, "name") else node.get("name")
        found[path.stem] = (name, target)
    return found


def _choice(group: str, node: Mapping[str, Any], target: str, default: str) -> str:
    choices = _targets(group)
    by_name = [
        choice
        for choice, (name, builds) in choices.items()
        if name == node["name"] and builds in (target, None)
    ]
    by_target = [choice for choice, (_, builds) in choices.items() if builds == target]
    return (by_name or by_target or [default])[0]


def _words(
    base: DictConfig, given: tuple[str, ...], recorded: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Words that turn a composition into what was recorded, and recorded settings that it lacks."""
    cfg, words = base.copy(), list(given)
    wanted = dict(_leaves(recorded, base))
    gone = [way for way in wanted if _parent(cfg, way) is None]
    done = {*gone}
    while differ := [
        way for way, value in wanted.items() if way not in done and _value(cfg, way) != value
    ]:
        # What others are derived from comes first: plain settings before interpolated ones, outer before inner.
        way = min(
            differ,
            key=lambda way: (OmegaConf.is_interpolation(_parent(base, way), way[-1]), len(way)),
        )
        _parent(cfg, way)[way[-1]] = wanted[way]
        done.add(way)
        words.append(f"{'.'.join(way)}={literal(wanted[way])}")
    return words, [".".join(way) for way in gone]


def _leaves(node: Any, base: DictConfig, way: Way = ()) -> Iterator[tuple[Way, Any]]:
    """Settings and their values; a mapping where the tree has null is one value."""
    parent = _parent(base, way) if way else None
    null = parent is not None and parent._get_node(way[-1])._is_none()
    if isinstance(node, Mapping) and node and not null:
        for key, value in node.items():
            yield from _leaves(value, base, (*way, str(key)))
    else:
        yield way, node


def _parent(cfg: DictConfig, way: Way) -> DictConfig | None:
    """The node that has a setting, without resolving anything; None where the tree has no such setting."""
    node: Any = cfg
    for step in way[:-1]:
        node = (
            node._get_node(step) if isinstance(node, DictConfig) and step in node.keys() else None
        )  # noqa: SIM118 (???)
    return node if isinstance(node, DictConfig) and way[-1] in node.keys() else None  # noqa: SIM118


def _value(cfg: DictConfig, way: Way) -> Any:
    try:
        value = _parent(cfg, way)[way[-1]]
    except OmegaConfBaseException:  # it is to be given, or derived from what is
        return ABSENT
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
