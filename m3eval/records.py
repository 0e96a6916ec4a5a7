"""Records as files: typed when they are read, in one form when they are written.

A record is a frozen dataclass. `read` makes a record of a JSON file and refuses a file that does
not fit; `plain` makes the JSON again. Files of earlier versions are read too: `RENAMED` lists the
keys that had other names then.

`write` adds a digest of all that a record says, under the key `sealed`. `read` compares it, so one
that was edited or damaged is not believed. Records of earlier versions have none.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from m3eval import seals
from m3eval.errors import UserError
from m3eval.files import parse_json, regular, write_json
from m3eval.oserrors import pass_on

# Keys of earlier versions, and what they are called now.
RENAMED = {
    "passage": "document",
    "passage_fields": "document_fields",
    "passage_prefix": "document_prefix",
    "max_passage_length": "max_document_length",
    "published_passages": "published_documents",
}
Record = TypeVar("Record")


class Settings(Mapping[str, Any]):
    """Named values that only their owner understands, in the order in which they were given."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"


def read(path: Path, kind: type[Record], remedy: str = "Make it again.") -> Record:
    """The record in a JSON file of this version or an earlier one.

    Args:
        path: the file.
        kind: the class of the record.
        remedy: what the user can do where the file does not fit.

    Raises:
        UserError: the file is damaged or is no such record. The error names the first value that
            does not fit.
        Damaged: the record is another than was written.
        OSError: the system refuses to read it.
    """
    try:
        content = parse_json(regular(path).read_bytes())
        made = record(content, kind)
    except (ValueError, OSError) as error:  # msgspec's and json's errors are ValueErrors
        pass_on(error)
        raise UserError(f"{path} is no {kind.__name__} of m3eval: {error}. {remedy}") from error
    seals.check_sealed(path, content, remedy)
    return made


def write(path: Path, value: Any) -> None:
    """Writes a record as JSON, sealed: see `seals.sealed`."""
    content = json.loads(json.dumps(plain(value)))  # as it will be read: keys are strings
    write_json(path, seals.sealed(content))


def record(content: Any, kind: type[Record]) -> Record:
    """A record from plain JSON values. Raises ValueError where they do not fit it."""
    return msgspec.convert(renamed(content), kind, dec_hook=_settings)


def plain(value: Any) -> Any:
    """A record as JSON has it, without the optional fields that are empty."""
    return _plain(value, lambda field, content: content or "optional" not in field.metadata)


def compared(value: Any) -> Any:
    """What of a record decides whether it is equal to another, as JSON has it.

    Fields with `compared=False` in their metadata tell where something came from, or how it is
    guarded; they do not decide what it is.
    """
    return _plain(value, lambda field, _: field.metadata.get("compared", True))


def _plain(value: Any, keeps: Callable[[dataclasses.Field[Any], Any], Any]) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(content, keeps)
            for field in dataclasses.fields(value)
            if keeps(field, content := getattr(value, field.name))
        }
    if isinstance(value, Mapping):
        return {key: _plain(content, keeps) for key, content in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(item, keeps) for item in value] if isinstance(value, list | tuple) else value


def renamed(content: Any) -> Any:
    """Plain JSON values with the names that keys have today."""
    if isinstance(content, dict):
        return {RENAMED.get(key, key): renamed(value) for key, value in content.items()}
    return [renamed(value) for value in content] if isinstance(content, list) else content


def _settings(kind: type, content: Any) -> Any:
    """Makes `Settings`, which msgspec knows nothing of."""
    if issubclass(kind, Settings) and isinstance(content, dict):
        return kind(content)
    raise ValueError(f"expected named values, got {content!r}")
