"""Values of rows, typed: what is not what it should be is refused with its place, never converted.

Every function takes a row, where it stands (for messages) and the names that a field may have; the
first of them that the row has counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from m3eval.errors import UserError

Fields = Mapping[str, Any]


def identifier(row: Fields, where: str, *names: str) -> str:
    """An id: a string, or a whole number as it is written.

    Raises:
        UserError: there is none, it is of another kind, or no file can hold it.
    """
    name, value = _first(row, where, names)
    return _as_written(value, where, name)


def text(row: Fields, where: str, *names: str, published: bool = False) -> str:
    """A string, which may be empty.

    Args:
        row: the fields by name.
        where: its place.
        names: of the field.
        published: whether the text came from the hub; see `clean`.

    Raises:
        UserError: there is no such field, it is no string, or no encoding can hold it.
    """
    name, value = _first(row, where, names)
    if not isinstance(value, str):
        remedy = ' Write "" where there is no text.' if is_nothing(value) else ""
        raise UserError(f"{where}: {name!r} is {shown(value)}, expected a string.{remedy}")
    return clean(value, where, name, published)


def optional_text(row: Fields, where: str, name: str, published: bool = False) -> str:
    """A string; empty where the field is absent, null, or NaN, which pandas writes for null."""
    return "" if is_nothing(row.get(name)) else text(row, where, name, published=published)


def strings(row: Fields, where: str, name: str, published: bool = False) -> list[str]:
    """A list of strings; whole numbers among them are taken as they are written.

    Args:
        row: the fields by name.
        where: its place.
        name: of the field.
        published: whether they came from the hub: they are read as they stand then.

    Raises:
        UserError: it is no list, or holds something else, or a string without any character, which
            every document would contain.
    """
    _, values = _first(row, where, (name,))
    if not isinstance(values, list):
        raise UserError(f"{where}: {name!r} must be a list of strings, got {shown(values)}.")
    found = [_as_written(value, where, f"{name}[{i}]") for i, value in enumerate(values)]
    for string in found if not published else ():
        if all(unicodedata.category(character)[0] in "ZC" for character in string):
            raise UserError(
                f"{where}: {name!r} has {string!r}, which every document contains: leave it out."
            )
    return found


def nested(row: Fields, where: str, name: str) -> dict[str, Any]:
    """The fields of a field. Raises UserError where it has none."""
    _, value = _first(row, where, (name,))
    if not isinstance(value, dict):
        raise UserError(f"{where}: {name!r} is {shown(value)}, expected an object with fields.")
    return value


def objects(row: Fields, where: str, name: str) -> list[dict[str, Any]]:
    """A list of objects with fields. Raises UserError where it is anything else."""
    _, values = _first(row, where, (name,))
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise UserError(f"{where}: {name!r} is {shown(values)}, expected a list of objects.")
    return values


def clean(value: str, where: str, name: str, published: bool = False) -> str:
    """The string, if it can be written, printed and given to a tokeniser.

    Texts of published benchmarks are read as they stand, since published figures rest on them:
    there, NUL is let through.

    Raises:
        UserError: it has half of a surrogate pair, or a NUL character.
    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{where}: {name!r} has half of a surrogate pair, {value[error.start]!a}, at "
                f"character {error.start + 1}: it was cut in two. Repair it, or take it out."
            ) from error
    if "\0" in value and not published:
        raise UserError(
            f"{where}: {name!r} has a NUL character at character {value.index(chr(0)) + 1}: take "
            "it out."
        )
    return value


def is_nothing(value: Any) -> bool:
    """Whether a value stands for none: null, or NaN, which alone is not equal to itself."""
    return value is None or value != value


def shown(value: Any) -> str:
    """A value as a message shows it: as JSON has it, and not at length."""
    if value is None:
        return "null"
    if value != value:
        return "NaN"
    if isinstance(value, bool):
        return str(value).lower()
    words = repr(value)
    return words if len(words) <= 80 else f"{words[:77]}..."


def _as_written(value: Any, where: str, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UserError(
            f"{where}: {name!r} is {shown(value)}, expected a string or a whole number."
        )
    return clean(value, where, name)


def _first(row: Fields, where: str, names: tuple[str, ...]) -> tuple[str, Any]:
    for name in names:
        if name in row:
            return name, row[name]
    raise UserError(f"{where}: needs a field {' or '.join(map(repr, names))}, has {sorted(row)}.")
