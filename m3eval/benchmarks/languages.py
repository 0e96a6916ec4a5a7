"""Which names say a language: codes of ISO 639, and English names of languages with a short code.

`languages.json` has the codes of ISO 639-1, each with its code of three letters and its name; where
that is several languages, also the code of the one that is usually meant (cmn, arb).
"""

from __future__ import annotations

import functools
import json
import re
from importlib import resources

# ISO 15924's code of a script -> languages that are usually written in it; others: Latn.
SCRIPTS = {
    "Arab": "ar fa ks ku ps sd ug ur",
    "Armn": "hy",
    "Beng": "as bn",
    "Cyrl": "ab av ba be bg ce cv kk kv ky mk mn os ru sr tg tt uk",
    "Deva": "hi mr ne sa",
    "Ethi": "am ti",
    "Geor": "ka",
    "Grek": "el",
    "Gujr": "gu",
    "Guru": "pa",
    "Hang": "ko",
    "Hans": "zh",
    "Hebr": "he yi",
    "Jpan": "ja",
    "Khmr": "km",
    "Knda": "kn",
    "Laoo": "lo",
    "Mlym": "ml",
    "Mymr": "my",
    "Orya": "or",
    "Sinh": "si",
    "Taml": "ta",
    "Telu": "te",
    "Thaa": "dv",
    "Thai": "th",
    "Tibt": "bo dz",
}


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


def with_script(name: str) -> str:
    """A language as MTEB writes it, kor-Hang; und where a name says none.

    A script in the name goes before the one that the language is usually written in.
    """
    code = code_of(name)
    parts = re.split("[-_]", name)
    said = next(filter(_is_script, parts), None)
    letters = _names()[code][0] if code else parts[0] if said and is_language(name) else None
    if letters is None:
        return "und"
    usual = next((script for script, codes in SCRIPTS.items() if code in codes.split()), "Latn")
    return f"{letters}-{said or usual}"


def _code(part: str, behind: list[str]) -> str | None:
    if code := _codes().get(part.lower()):
        return code
    return part if re.fullmatch("[a-z]{3}", part) and any(map(_is_script, behind)) else None


def _is_script(part: str) -> bool:
    return re.fullmatch("[A-Z][a-z]{3}", part) is not None


@functools.cache
def _codes() -> dict[str, str]:
    """Code or name -> code of two letters."""
    return {said: code for code, names in _names().items() for said in (code, *names)}


@functools.cache
def _names() -> dict[str, list[str]]:
    """Code of two letters -> code of three, English name, and what else says it."""
    content = resources.files("m3eval.benchmarks").joinpath("languages.json").read_bytes()
    return json.loads(content)
