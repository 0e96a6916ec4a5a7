"""Words of the command line: what a page shows so that somebody can make a result again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]+")  # what Hydra takes for a string without quotes


@dataclass(frozen=True)
class Command:
    """The words that a result was made by, and what they cannot say."""

    words: list[str]
    stages: list[str]  # embed, search, evaluate
    gone: list[str]  # settings that were recorded and exist no longer

    def lines(self, *more: str) -> list[str]:
        """A shell line per stage, with more words if given; of a setting given twice the later word counts."""
        names = {word.partition("=")[0] for word in more}
        words = [word for word in self.words if word.partition("=")[0] not in names]
        return [shlex.join(["m3eval", stage, *words, *more]) for stage in self.stages]


def literal(value: Any) -> str:
    """A value as Hydra reads it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(one)}" for key, one in value.items()) + "}"
    if PLAIN.fullmatch(value) and not isinstance(
        OmegaConf.create(f"a: {value}").get("a"), (bool, int, float, type(None))
    ):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
