"""What no file and no line may show: keys, tokens and passwords. The one place of that rule.

A secret is known by the name that holds it (`encoder.api_key=`, HF_TOKEN in the environment), or by
its place in a URL: before the @, or in a parameter of such a name. `masked_tree` and `masked_word`
hide it there. `masked` is for lines and logs: it also hides a value that was met under such a name
wherever that comes up again, as in a library's message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
_NAME = (
    "(?:api|access|secret|private)[_-]?key|auth|authorization|bearer|credentials?|passwd"
    "|passwords?|secret|token"
)
# token_budget, bm25_tokens and n_mask_tokens hold no secret.
NAMED = re.compile(rf"(?:^|[._-])(?:{_NAME})$|password$", re.IGNORECASE)
_PLACES = re.compile(
    r"(?<=://)[^\s/?#\"'<>]*(?=@)"  # user:password@ of a URL
    rf"|(?<=[?&])((?:\w+[_-])?(?:{_NAME})=)[^\s&#\"']*",  # a URL's parameter
    re.IGNORECASE,
)
_SAID = re.compile(
    rf"((?<![a-z0-9])(?:{_NAME})[\"']?(?:=|: ?))"
    r"(?![\"']?\*\*\*)"  # it is masked already, and quoted where YAML needs that
    r"(\"[^\"]*\"|'[^']*'|[^\s&\"',;)\]}]+)"
    r"|(?<=\bBearer )[^\s\"',;]+",
    re.IGNORECASE,
)
# Signs of a value that is looked for everywhere: a shorter one stands in other words, too.
LEAST, LEAST_USER = 6, 20
_met: set[str] = set()


def note(name: str, value: str) -> None:
    """Remembers what a value holds that `masked` must hide, by its name or its place."""
    if NAMED.search(name):
        _remember(value)
    for place in _PLACES.finditer(value):
        user, colon, password = place[0].removeprefix(place[1] or "").partition(":")
        if colon or place[1]:
            _remember(password or user)
        elif len(user) >= LEAST_USER:  # a token; what is shorter is a name, as in git@host
            _remember(user)


def note_environment() -> None:
    """Remembers the secrets of the environment: HF_TOKEN, OPENAI_API_KEY, a proxy's password."""
    for name, value in os.environ.items():
        note(name, value)


def note_words(words: Iterable[str]) -> None:
    """Remembers the secrets of a command line."""
    for word in words:
        key, _, value = word.partition("=")
        note(key, value.strip("\"'"))


def masked(text: str) -> str:
    """A text for people, without secrets."""
    for secret in sorted(_met, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _SAID.sub(_hidden, _PLACES.sub(_hidden, text))


def masked_tree(node: Any, name: str = "") -> Any:
    """Plain values without secrets. The same values give the same, whatever the environment is.

    Args:
        node: a mapping, list or value.
        name: its key.
    """
    if isinstance(node, Mapping):
        return {key: masked_tree(value, str(key)) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [masked_tree(value, name) for value in node]
    if node is not None and not isinstance(node, bool) and NAMED.search(name):
        return MASK
    return _PLACES.sub(_hidden, node) if isinstance(node, str) else node


def masked_word(word: str) -> str:
    """A word of a command line without secrets: `encoder.api_key=***`."""
    key, equals, value = word.partition("=")
    return key + equals + str(masked_tree(value, key))


def _hidden(place: re.Match[str]) -> str:
    return (place[1] or "") + MASK


def _remember(secret: str) -> None:
    if len(secret) >= LEAST:
        _met.add(secret)
