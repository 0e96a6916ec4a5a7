"""Runs that others made, as retrievers: the words that configure them, and what these leave out.

`+retriever.NAME.file=FILE` is enough; `retrievers/imported.py` reads the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from m3eval.errors import UserError
from m3eval.quoting import escaped, literal

TARGET = "m3eval.retrievers.imported.search"


def complete(cfg: DictConfig, own: Collection[str]) -> None:
    """Makes imported runs of the retrievers that words gave a file and nothing else.

    Args:
        cfg: the configuration.
        own: the names that m3eval's own retrievers have.

    Raises:
        UserError: one has such a name.
    """
    for name, node in cfg.retriever.items():
        if not isinstance(node, DictConfig) or "file" not in node or "_target_" in node:
            continue
        if name in own:
            raise UserError(taken(str(name)))
        given: Any = OmegaConf.to_container(node)
        with open_dict(cfg):
            cfg.retriever[name] = {
                "_target_": TARGET,
                "file": None,
                "subset": None,
                "split": None,
                "depth": "${benchmark.retrieval.depth}",
                **given,
            }


def taken(name: str) -> str:
    """What to say of an imported run with the name of a retriever of m3eval."""
    return (
        f"{name} is a retriever of m3eval, and a run that was made elsewhere must not be taken for "
        "one of its: give it another name."
    )


def is_fit(name: str) -> bool:
    """Whether a word can give a retriever this name: letters of ASCII, digits, _ and -."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) is not None


def words(retrievers: Mapping[str, Any], own: Collection[str]) -> Iterator[str]:
    """The words that configure those of the retrievers whose runs were made elsewhere.

    Args:
        retrievers: settings by name; they may be anybody's.
        own: the names that m3eval's own retrievers have.
    """
    for name, settings in retrievers.items():
        if settings.get("_target_") == TARGET and is_fit(name) and name not in own:
            for key in ("file", "subset", "split"):
                if settings.get(key) is not None:
                    yield f"+retriever.{name}.{key}={literal(escaped(settings[key]))}"
