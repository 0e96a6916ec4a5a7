"""Kinds of settings: what a value may be, and what is said of one that may not.

A kind is an annotation. It stands once, where the setting is used: at a parameter of the function
or a field of the dataclass that takes it. Numbers are finite, `true` is no number and 1 is not
true; `Rule` narrows a kind further, as in `Count`.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from m3eval.quoting import literal

MOST = 1_000_000_000  # of anything that is counted: it fits every library's integers
SHOWN = 100  # signs of a value in an error
LONGEST = 120  # bytes of a name, which gets suffixes as a file


@dataclass(frozen=True)
class Rule:
    """Narrows an annotation: stands behind it in `Annotated`."""

    says: str
    """What the setting takes, in an error."""
    read: Callable[[Any], Any]
    """The value in its one form. Raises ValueError where it breaks the rule."""


def holds(says: str, test: Callable[[Any], object]) -> Rule:
    """A rule that a value keeps or breaks, and that does not change it."""

    def read(value: Any) -> Any:
        if not test(value):
            raise ValueError(says)
        return value

    return Rule(says, read)


def whole(least: int, most: int = MOST) -> Rule:
    """Whole numbers in a range, both ends included."""
    return holds(f"a whole number from {least:,} to {most:,}", lambda n: least <= n <= most)


def is_name(text: str) -> bool:
    """Whether a text may name a benchmark, an encoder, a language or a retriever.

    A name is one component of a path, on every system: letters and digits of any script and
    `._-+@ ()`, no dot or dash at its beginning, no blank at either end, at most 120 bytes.
    """
    return (
        0 < len(text.encode("utf-8", "surrogatepass")) <= LONGEST
        and text[0] not in ".-"
        and text == text.strip()
        and all(sign in "._-+@ ()" or unicodedata.category(sign)[0] in "LNM" for sign in text)
    )


Name = Annotated[
    str,
    holds(
        "one name: letters, digits and ._-+@ (), no dot, dash or blank first, at most 120 bytes",
        is_name,
    ),
]
Count = Annotated[int, whole(1)]
NotNegative = Annotated[float, holds("a number of at least 0", lambda number: number >= 0)]
Positive = Annotated[float, holds("a number above 0", lambda number: number > 0)]
Share = Annotated[float, holds("a number from 0 to 1", lambda number: 0 <= number <= 1)]
Between = Annotated[float, holds("a number between 0 and 1", lambda number: 0 < number < 1)]
Weights = Annotated[
    dict[str, NotNegative],
    holds("weights of which one at least is above 0", lambda weights: any(weights.values())),
]
NOT_EMPTY = holds("a list of at least one", bool)


def fit(value: Any, kind: Any) -> Any:
    """A value of a kind, in its one form.

    Raises:
        ValueError: it is of another kind.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = fit(value, arguments[0])
        for rule in _rules(kind):
            value = rule.read(value)
        return value
    if origin in (Union, UnionType):
        for each in arguments:
            try:
                return fit(value, each)
            except ValueError:
                continue
        fits = False
    elif origin is Literal:
        fits = any(value == each and type(value) is type(each) for each in arguments)
    elif origin in (list, Sequence) and isinstance(value, list):
        return [fit(item, arguments[0]) for item in value]
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {fit(key, arguments[0]): fit(item, arguments[1]) for key, item in value.items()}
    elif kind is None or kind is NoneType:
        fits = value is None
    elif kind is float:
        fits = type(value) in (int, float) and abs(value) <= sys.float_info.max  # nan is not
    elif kind in (bool, int, str):
        fits = type(value) is kind
    else:  # of other kinds m3eval knows nothing: whoever wrote the annotation has to see to it
        fits = origin not in (list, Sequence, dict, Mapping)
    if not fits:
        raise ValueError(takes(kind))
    return value


def problems(value: Any, kind: Any, where: str) -> Iterator[str]:
    """What to say of a value that is not of its kind: the smallest part that is wrong, and why.

    Args:
        value: as plain values.
        kind: its annotation.
        where: the setting's key.
    """
    try:
        fit(value, kind)
        return
    except ValueError:
        pass
    inner = like(value, kind)
    if isinstance(value, Mapping) and inner is not None:
        of_key, of_item = get_args(inner)
        found = [f"{where}: {each}" for key in value for each in problems(key, of_key, "its key")]
        for key, item in value.items():
            found += problems(item, of_item, f"{where}.{key}")
    elif isinstance(value, list) and inner is not None:
        (of_item,) = get_args(inner)
        found = [each for item in value for each in problems(item, of_item, f"{where}: its item")]
    else:
        found = []
    if is_text(kind) and isinstance(value, int | float):
        found = [f"{where}={_written(value)}: takes a text; in a file, put it in quotes."]
    # Every part is right: the rule about the whole is broken.
    yield from found or [f"{where}={_written(value)}: takes {takes(kind)}."]


def like(value: Any, kind: Any) -> Any:
    """Of a kind's alternatives the one that is a list or a mapping as the value is; else None."""
    for each in alternatives(kind):
        if isinstance(value, Mapping) and get_origin(each) in (dict, Mapping):
            return each
        if isinstance(value, list) and get_origin(each) in (list, Sequence):
            return each
    return None


def alternatives(kind: Any) -> list[Any]:
    """The kinds of which a value may be any, without their rules."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [inner for each in get_args(kind) for inner in alternatives(each)]
    return [kind]


def item_of(kind: Any) -> Any:
    """The kind of the items where a setting takes a list; else None."""
    lists = (each for each in alternatives(kind) if get_origin(each) in (list, Sequence))
    return next((get_args(each)[0] for each in lists), None)


def is_text(kind: Any) -> bool:
    """Whether a setting takes any text, so that 2023 and 1e5 are no numbers there."""
    alike = alternatives(kind)
    return str in alike and not any(each in (bool, int, float) for each in alike)


def takes(kind: Any) -> str:
    """What a setting of a kind takes, in words."""
    if rules := _rules(kind):
        return " and ".join(rule.says for rule in rules)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _either([takes(each) for each in arguments])
    if origin is Literal:
        return _either([literal(each) for each in arguments])
    if origin in (list, Sequence):
        return "a list, as in [A,B]"
    if origin in (dict, Mapping):
        return "values by name, as in {A: ..., B: ...}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return "null" if kind in (None, NoneType) else words.get(kind, str(kind))


def _written(value: Any) -> str:
    """A value as an error shows it: in one line, and not all of a long one."""
    text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in literal(value))
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _rules(kind: Any) -> list[Rule]:
    if get_origin(kind) is not Annotated:
        return []
    return [rule for rule in get_args(kind)[1:] if isinstance(rule, Rule)]
