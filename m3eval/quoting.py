"""Values as words of a command line: how Hydra's grammar wants them written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]+")  # what needs no quotes

REFERENCE = re.compile(r"(\\*)\$\{")  # with the backslashes before it, each of which counts double


def literal(value: Any) -> str:
    """A number, text, list, mapping or None as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    text = str(value)
    return text if PLAIN.fullmatch(text) and _is_a_text_in_yaml(text) else quoted(text)


def _is_a_text_in_yaml(text: str) -> bool:
    """False of `no`, `1` and `@`, which YAML reads as something else; so does who reads them."""
    try:
        return isinstance(yaml.safe_load(f"a: {text}").get("a"), str)
    except yaml.YAMLError:
        return False


def escaped(value: Any) -> Any:
    """Plain values as a configuration has to hold them so that no `${` in them is a reference.

    What a record or a file says goes through here before it comes near OmegaConf.
    """
    if isinstance(value, Mapping):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(item) for item in value]
    return REFERENCE.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def quoted(text: str) -> str:
    """A text in double quotes. Backslashes count double before a quote, and only there."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'
