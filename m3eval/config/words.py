"""The words of a command line: `setting=value` and `group=choice`, read as people write them.

Hydra's grammar reads the values. What it would refuse and a person would expect to work is put
right first: blanks, brackets and letters of any script in a path or a text, `~` for the home
folder. What stays wrong is said with the nearest setting or choice that exists.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from m3eval import kinds
from m3eval.config import tree
from m3eval.errors import UserError
from m3eval.quoting import literal, quoted

# A group of which a configuration takes several choices.
SEVERAL = ("retriever",)
SHOWN = 12  # so many names are listed in a message; of more, the nearest
HOME = re.compile(r"(^|[\[,] ?)~(?=/|$)")  # at the beginning of a value or of a list's item


@dataclass(frozen=True)
class Word:
    """One word of the command line."""

    written: str  # as the user wrote it
    sign: str  # "+" or "++" adds a setting, "~" removes one, "" changes one
    key: str  # encoder.name; of a group its name
    value: str  # as Hydra reads it; "" of a "~" without value
    parsed: Any  # what Hydra makes of the value: a number, text, list, mapping or None
    swept: tuple[str, ...] = ()  # of a comma-separated word its values

    @property
    def text(self) -> str:
        """The word as Hydra reads it."""
        removes = self.sign == "~" and not self.value
        return f"~{self.key}" if removes else f"{self.sign}{self.key}={self.value}"

    @property
    def top(self) -> str:
        """The outermost part of the key."""
        return self.key.partition(".")[0]

    def holding(self, value: Any) -> Word:
        """The same word with another value."""
        return replace(self, value=literal(value), parsed=value, swept=())

    def each(self) -> list[Word]:
        """A word for each of its values."""
        if not self.swept:
            return [self]
        return [read(f"{self.sign}{self.key}={value}") for value in self.swept]


def read(written: str) -> Word:
    """One word, its value put right where Hydra's grammar needs quotes.

    Raises:
        UserError: it is no setting=value, or its value cannot be read.
    """
    head, equals, value = written.partition("=")
    key = head.lstrip("+~")
    sign = head[: len(head) - len(key)]
    if not equals:
        if sign == "~" and key:
            return Word(written, sign, key, "", None)
        raise UserError(_no_setting(written))
    value = HOME.sub(lambda match: match[1] + str(Path.home()), value)
    override = _parse(f"{head}={value}")
    if override is None:
        value = _quoted(value)
        override = _parse(f"{head}={value}")
    if override is None or not key:
        raise UserError(
            f"{written}: this cannot be read as setting=value. A value with signs of its own goes "
            "into two kinds of quotes, as in 'encoder.label=\"...\"'."
        )
    if override.is_sweep_override():
        swept = tuple(map(str, override.sweep_string_iterator()))
        return Word(written, sign, key, value, None, swept)
    return Word(written, sign, key, value, override.value())


def whole(written: Sequence[str]) -> Iterator[str]:
    """The words, those of a list that blanks tore apart put together: `[ko,` and `fa]`."""
    waiting: list[str] = []
    for word in written:
        waiting.append(word)
        joined = " ".join(waiting)
        value = joined.partition("=")[2].lstrip()
        if value[:1] in ("[", "{") and _open(value):
            continue
        yield joined
        waiting = []
    yield from waiting


def calls(words: Sequence[Word]) -> Iterator[list[Word]]:
    """The calls that `-m` makes of comma-separated words: all combinations, last word fastest."""
    for combination in itertools.product(*(word.each() for word in words)):
        yield list(combination)


def chosen(word: Word, group: str, may_be_none: bool = False) -> Word:
    """A word that chooses, if all that it names exists.

    Args:
        word: the word.
        group: that it chooses of.
        may_be_none: whether an empty list is a choice, for other words add what it has.

    Raises:
        UserError: a choice does not exist, or there are several of a group that takes one.
    """
    several = group in SEVERAL
    if several:
        values = [item.parsed for item in word.each()]
        word = word.holding(values[0] if isinstance(values[0], list) else values)
    elif word.swept or isinstance(word.parsed, list):
        raise UserError(
            f"{word.written}: {group}= takes one choice. With -m before it there is a call for "
            f"each: -m {group}=A,B."
        )
    names = word.parsed if several else [word.parsed]
    available = tree.choices(group)
    if word.sign == "~" or not (names or may_be_none) or None in names:
        example = f"[{available[0]}]" if several else available[0]
        raise UserError(
            f"{word.written}: name a choice, as in {group}={example}, or leave the word out."
        )
    if absent := [str(name) for name in names if name not in available]:
        meant = [near for name in absent for near in nearest(name, available, 3 // len(absent))]
        also = f": did you mean {' or '.join(dict.fromkeys(meant))}?" if meant else "."
        listed = f" Choose among {', '.join(available)}." if len(available) <= SHOWN else ""
        raise UserError(
            f"{word.written}: there is no {group} {', '.join(absent)}{also}{listed} "
            f"`m3eval list {group}s` says what each is."
        )
    return word


def fitted(
    word: Word,
    settings: Mapping[str, Any],
    groups: Sequence[str],
    kind_of: Callable[[str], Any],
) -> Word:
    """A word that sets something, its value made a list or a text where the setting is one.

    Args:
        word: the word.
        settings: the configuration that it changes, as a plain tree.
        groups: of the configuration.
        kind_of: gives the kind of a setting by its key.

    Raises:
        UserError: there is no such setting, or it takes one value and not several.
    """
    default = _default(word, settings, groups)
    if word.sign == "~":
        return word
    kind = kind_of(word.key)
    item = kinds.item_of(kind)
    if word.swept and item is None and not kinds.is_text(kind):
        raise UserError(
            f"{word.written}: {word.key}= takes one value. With -m before it there is a call for "
            f"each: -m {word.written}."
        )
    value = word.parsed
    if value is None and not word.swept and NoneType in kinds.alternatives(kind):
        return word
    if isinstance(default, Mapping) and not isinstance(value, Mapping) and kind is not Any:
        parts = ", ".join(f"{word.key}.{part}=" for part in default)
        raise UserError(f"{word.written}: {word.key} has parts, to be set one by one: {parts}.")
    if word.swept:
        value = word.written.partition("=")[2] if item is None else list(word.swept)
    elif value is None or (isinstance(value, str) and "${" in value):
        return word
    if item is not None:
        value = _items(word, value, item)
    elif kinds.is_text(kind) and not isinstance(value, str):
        value = word.value
    with contextlib.suppress(ValueError):  # said with everything else that is wrong, in `checks`
        value = kinds.fit(value, kind)
    return word if value == word.parsed and not word.swept else word.holding(value)


def _items(word: Word, value: Any, kind: Any) -> list[Any]:
    """The items of a list as they are typed: in [007,1e5] there are no numbers where texts go."""
    if word.swept:
        parsed = [item.parsed for item in word.each()]
        written = list(word.swept)
    else:
        parsed = value if isinstance(value, list) else [value]
        bare = word.value.strip().removeprefix("[").removesuffix("]")
        written = [item.strip() for item in bare.split(",")] if isinstance(value, list) else [bare]
    if not kinds.is_text(kind) or len(written) != len(parsed):
        return parsed
    return [
        item if isinstance(item, str) else typed
        for item, typed in zip(parsed, written, strict=True)
    ]


def nearest(name: str, names: Sequence[str], at_most: int = 1) -> list[str]:
    """The names that are most like this one, if any is like it."""
    return difflib.get_close_matches(name, names, at_most, 0.6)


def _parse(text: str) -> Override | None:
    """What Hydra makes of a word; None: nothing."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def _quoted(value: str) -> str:
    """A value in quotes; of a list each item that needs them."""
    if not (value.startswith("[") and value.endswith("]")):
        return quoted(value)
    items = [item.strip() for item in value[1:-1].split(",")]
    fit = (item if _parse(f"x=[{item}]") else _quoted(f"{item}") for item in items)
    return f"[{','.join(fit)}]"


def _open(value: str) -> bool:
    """Whether a bracket at the beginning of a value is not closed, quotes aside."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", value)
    return bare.count("[") > bare.count("]") or bare.count("{") > bare.count("}")


def _default(word: Word, settings: Mapping[str, Any], groups: Sequence[str]) -> Any:
    """The value that a setting has without the word; None of a setting that the word adds.

    Raises:
        UserError: there is no such setting, and the word does not add one to a part of the tree.
    """
    node: Any = settings
    way = word.key.split(".")
    for depth, step in enumerate(way):
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif word.sign.startswith("+") and depth:
            return None
        else:
            raise UserError(_unknown(way, depth, node, settings, groups))
    if word.sign == "~" and len(way) == 1:
        raise UserError(f"{word.written}: {word.key} cannot be left out.")
    if word.sign == "+":
        raise UserError(f"{word.written}: {word.key} exists already, so write {word.written[1:]}.")
    return node


def _unknown(
    way: Sequence[str],
    depth: int,
    node: Any,
    settings: Mapping[str, Any],
    groups: Sequence[str],
) -> str:
    """What to say of a setting that does not exist.

    Args:
        way: the parts of its key.
        depth: how many of them exist.
        node: what the last existing one holds.
        settings: the whole configuration.
        groups: of the configuration.
    """
    where, said = ".".join(way[:depth]), f"unknown setting {'.'.join(way)}"
    if where == "retriever" and way[1] in tree.choices("retriever"):
        listed = ",".join([*settings["retriever"], way[1]])
        return f"{said}: {way[1]} is not configured; add it, as in retriever=[{listed}]."
    if where and not isinstance(node, Mapping):
        return f"{said}: {where} is {literal(node)} and has no parts; set {where}= as a whole."
    if not where and (owners := tree.owners(way[0])):
        return f"{said}: it is one of m3eval {' and m3eval '.join(owners)}."
    names = list(dict.fromkeys([*node, *(groups if not where else ())]))
    if near := nearest(way[depth], names):
        return f"{said}: did you mean {'.'.join([*way[:depth], near[0], *way[depth + 1 :]])}?"
    # The right name in the wrong place: shard_size= for runtime.shard_size=.
    elsewhere = [key for key in _keys(settings) if key.rpartition(".")[2] == way[-1]]
    if elsewhere:
        return f"{said}: did you mean {' or '.join(elsewhere[:3])}?"
    return f"{said}: {where or 'the configuration'} has {', '.join(names)}."


def _keys(node: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The keys of all settings, with dots."""
    for key, value in node.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")


def _no_setting(written: str) -> str:
    """What to say of a word without an equals sign."""
    for group in ("retriever", "benchmark", "encoder", "experiment", "lineup"):
        if written in tree.choices(group):
            value = f"[{written}]" if group in SEVERAL else written
            return f"{written}: words are setting=value; did you mean {group}={value}?"
    if near := nearest(written, ["languages", "benchmark", "encoder", "retriever"]):
        return f"{written}: words are setting=value; did you mean {near[0]}=...?"
    return (
        f"{written}: words are setting=value, as in languages=[ko,fa]. A value with blanks goes "
        "in quotes, as in 'encoder.label=my model'."
    )
