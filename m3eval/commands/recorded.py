"""The command that made a result, derived from the configuration that the result recorded.

A command is a composition to begin from, and words that turn it into what was recorded. The
shortest one is shown. A result may be anybody's, so it is data all along. What it builds is built
only if the configuration's own files build it; a reference such as ${oc.env:HOME} is a text with
these signs; leave that its maker gave is not given again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from m3eval.config import Setup, check, compose, imported, tree
from m3eval.errors import UserError
from m3eval.manifests import Provenance
from m3eval.quoting import escaped, literal
from m3eval.reports.results import read_scores
from m3eval.reports.site.words import RecordedCommand
from m3eval.secrets import masked_tree

SHOWN = 5  # settings that an error names
ABSENT = object()  # stands for a value that is to be given, or derived from one that is
Words = tuple[str, ...]
Place = tuple[str, ...]  # keys of a setting from the outermost on; a key may have dots in it


# Settings by which a user lets something happen: his word counts, a file's does not.
LEAVE = ("trust_remote_code", "confirm_cost", "report_to")


def configuration(file: Path, words: Sequence[str] = ()) -> Setup:
    """The configuration that a result recorded, checked; what is newer has its default.

    Args:
        file: scores.json.
        words: settings that replace recorded ones, as in benchmark.root=/data.

    Raises:
        UserError: the file is none, or its configuration cannot be used here.
    """
    recorded = command(read_scores(file).provenance)
    if recorded.gone:
        more = f" and {len(recorded.gone) - SHOWN} more" if len(recorded.gone) > SHOWN else ""
        raise UserError(
            f"{file} records what m3eval does not have here "
            f"({', '.join(recorded.gone[:SHOWN])}{more}): run `m3eval evaluate` again, or give the "
            "--config-dir that it was made with."
        )
    left = [word for word in recorded.words if _last(word) not in LEAVE]
    return check(compose(*left, *words))


def command(provenance: Provenance) -> RecordedCommand:
    """The shortest command that gives the recorded configuration.

    Settings that did not exist when the result was made keep their defaults. Settings that were
    recorded and do not exist here are named in `RecordedCommand.gone`, and so is a `_target_` that
    no file of the configuration has.

    Args:
        provenance: of a result as `reports.results.read_scores` gives it.
    """
    recorded = masked_tree(provenance.config)
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
    known = tree.choices("retriever")
    names = [name for name in recorded["retriever"] if name in known]
    foreign = tuple(imported.words(recorded["retriever"], known))
    experiment = (f"experiment={benchmark['name']}",)
    there = benchmark["name"] in tree.choices("experiment")
    for words in (experiment, groups) if there else (groups,):
        base = _composed(words)
        if base is None:
            continue
        if (names or foreign) and list(base.retriever) != names:
            words = (*words, f"retriever=[{','.join(names)}]")
        yield from _without_defaults((*words, *foreign))


def _without_defaults(words: Words) -> Iterator[tuple[Words, DictConfig]]:
    """The composition of these words, and the words without those that name a default."""
    base = _composed(words)
    if base is None:
        return
    defaults = {"benchmark=miracl", "encoder=bge_m3"}
    short = tuple(word for word in words if word not in defaults)
    same = _composed(short)
    # Where no encoder is needed there is none, unless a word names it.
    agree = same is not None and same.encoder._target_ == base.encoder._target_
    yield (short if agree else words), base


def _composed(words: Words) -> DictConfig | None:
    """What words compose; None where a word names something that does not exist."""
    return _composed_of(words, tuple(tree.private_folders()))


@functools.cache
def _composed_of(words: Words, _: tuple[Path, ...]) -> DictConfig | None:
    try:
        return compose(*words)
    except UserError:
        return None


def _choice(group: str, node: Mapping[str, Any], target: str, default: str) -> str:
    """The choice of a group that made a recorded node: by its name, else by what it builds."""
    choices = _choices(group, tuple(tree.private_folders()))
    for choice, (name, builds) in choices.items():
        if name == node["name"] and builds in (target, None):
            return choice
    return next((choice for choice, (_, builds) in choices.items() if builds == target), default)


@functools.cache
def _choices(group: str, _: tuple[Path, ...]) -> dict[str, tuple[str | None, str | None]]:
    """Choice -> its name and what it builds, in the shipped and in private files."""
    choices = {}
    for path in map(tree.path_of, (f"{group}/{choice}" for choice in tree.choices(group))):
        file = OmegaConf.load(path)
        assert isinstance(file, DictConfig), path
        node = file.get(group, file)  # a file of the global package holds other groups too
        target = node.get("source", node).get("_target_")
        # One that follows from other settings, as that of hub.yaml, tells no choice.
        given = not (OmegaConf.is_missing(node, "name") or OmegaConf.is_interpolation(node, "name"))
        name = node.get("name") if given else None
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
    known = {None, *tree.targets()}
    gone = [
        place
        for place, value in wanted.items()
        if _parent(cfg, place) is None or (place[-1] == "_target_" and value not in known)
    ]
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
        value = escaped(wanted[place])
        parent[place[-1]] = value
        all_words.append(f"{'.'.join(place)}={literal(value)}")
    return all_words, [".".join(place) for place in gone]


def _last(word: str) -> str:
    return word.partition("=")[0].rpartition(".")[2]


def _settings(node: Any, base: DictConfig, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Places and values of recorded settings; a mapping is one where the tree has none, or {}."""
    parent = _parent(base, place) if place else None
    empty = parent is not None and _is_empty(parent, place[-1])
    if isinstance(node, Mapping) and node and not empty:
        for key, value in node.items():
            yield from _settings(value, base, (*place, str(key)))
    else:
        yield place, node


def _is_empty(parent: DictConfig, key: str) -> bool:
    derived = OmegaConf.is_interpolation(parent, key) or OmegaConf.is_missing(parent, key)
    return not derived and parent.get(key) in (None, {})


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
