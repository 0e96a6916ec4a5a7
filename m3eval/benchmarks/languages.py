"""Which names say a language: codes of ISO 639, and English names of languages with a short code.

`languages.json` has the codes of ISO 639-1, each with its code of three letters and its name; where
that is several languages, also the code of the one that is usually meant (cmn, arb).
"""

from __future__ import annotations

import functools
import json
import re
from importlib import resources


def is_language(name: str) -> bool:
    """Whether a name says a language, or several: ko, kor, korean, zh-Hant, zh_cn, acm_Arab, ko-en.

    A code of three letters that has no code of two is one only where a script stands behind it:
    most short words are the code of some language.
    """
    parts = re.split("[-_]", name)
    return _code(parts[0], parts[1:2]) is not None and all(
        _code(part, parts[i + 1 : i + 2])
        or _is_script(part)
        or (i and re.fullmatch("[A-Za-z]{2}", part))
        for i, part in enumerate(parts)
    )


def code_of(name: str) -> str | None:
    """The code of two letters of the one language that a name says; else None."""
    parts = re.split("[-_]", name)
    found = {_codes().get(part.lower()) for part in parts if not _is_script(part)} - {None}
    return found.pop() if is_language(name) and len(found) == 1 else None


def _code(part: str, behind: list[str]) -> str | None:
    if code := _codes().get(part.lower()):
        return code
    return part if re.fullmatch("[a-z]{3}", part) and any(map(_is_script, behind)) else None


def _is_script(part: str) -> bool:
    return re.fullmatch("[A-Z][a-z]{3}", part) is not None


@functools.cache
def _codes() -> dict[str, str]:
    """Code or name -> code of two letters."""
    content = resources.files("m3eval.benchmarks").joinpath("languages.json").read_bytes()
    return {said: code for code, names in json.loads(content).items() for said in (code, *names)}
