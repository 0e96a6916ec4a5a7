"""A configuration checked as a whole, before anything is loaded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from m3eval import kinds
from m3eval.benchmarks.texts import TextRules
from m3eval.config import schema
from m3eval.config.setup import FOR_REPORTS, Retrieval, Setup
from m3eval.config.words import nearest
from m3eval.errors import SeveralErrors, UserError, together
from m3eval.manifests import REPRESENTATIONS
from m3eval.retrievers.retriever import find
from m3eval.runtime import settle
from m3eval.stores import compression


def accept(cfg: DictConfig) -> None:
    """Checks that every setting has a value, and one of its kind.

    Raises:
        UserError: lists all that have none, or another.
    """
    together(
        [functools.partial(complete, cfg), functools.partial(refuse, schema.unfit(cfg))],
    )


def check(cfg: DictConfig, words: Sequence[str] = ()) -> Setup:
    """Checks a configuration and changes nothing of it.

    First every value, and which settings there are, together; then what goes with what and with
    this machine; then whether the benchmark has the languages.

    Args:
        cfg: the configuration.
        words: that gave it, for commands that compose others from them.

    Raises:
        UserError: lists everything that is wrong.
    """
    setup = Setup(cfg, words)
    complete(cfg)
    parts = (
        (cfg.runtime, "runtime", settle),
        (cfg.benchmark.text, "benchmark.text", TextRules),
        (cfg.benchmark.retrieval, "benchmark.retrieval", Retrieval),
        (cfg.store.dense, "store.dense", compression.Compression),
    )
    signatures: list[Callable[[], Any]] = [
        lambda: _callable_with(cfg.benchmark.source, "benchmark.source"),
        *[functools.partial(_retriever, cfg.retriever[name], str(name)) for name in cfg.retriever],
    ]
    if cfg.encoder._target_ is not None:
        signatures.append(lambda: _callable_with(cfg.encoder, "encoder", "runtime"))
    together(
        [
            functools.partial(refuse, schema.unfit(cfg)),
            *[functools.partial(_fits, *part) for part in parts],
            *signatures,
        ]
    )
    together([lambda: setup.runtime, lambda: _retrieval(setup.retrieval)])
    _known(cfg.languages or [], setup.benchmark.languages, "languages")
    refuse(
        f"The language {language!r} of the benchmark cannot name files: give its folder another "
        f"name ({kinds.takes(kinds.Name)})."
        for language in setup.languages
        if not kinds.is_name(language)
    )
    return setup


def complete(cfg: DictConfig) -> None:
    """Raises UserError where a setting is missing that has no default, or cannot be resolved."""
    if missing := list(_missing(OmegaConf.to_container(cfg))):
        raise UserError(
            "These settings have no default and must be given: "
            + ", ".join(f"{key}=" for key in missing)
        )
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be resolved: {error}") from error


def refuse(problems: Iterable[str]) -> None:
    """Raises one UserError for all problems, if there are any."""
    if errors := [UserError(problem) for problem in problems]:
        raise SeveralErrors(errors)


def _missing(node: Any, where: str = "") -> Iterator[str]:
    """Where a plain tree says ???."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _missing(value, f"{where}.{key}" if where else key)
    elif node == "???":
        yield where


def _callable_with(node: DictConfig, where: str, *given: str) -> None:
    """Raises UserError unless the node's `_target_` takes its keys, and what the code gives."""
    try:
        target = get_object(node._target_)
        inspect.signature(target)
    except Exception as error:
        raise UserError(f"{where}._target_={node._target_} cannot be imported: {error}") from error
    _fits(node, where, target, *given)


def _fits(node: DictConfig, where: str, target: Callable[..., Any], *given: str) -> None:
    """Raises UserError unless something callable takes exactly the node's keys.

    Args:
        node: settings.
        where: its key.
        target: what is to be called with them.
        given: names of what the code passes itself.
    """
    signature = inspect.signature(target).parameters
    keys = [str(key) for key in node if key != "_target_" and key not in FOR_REPORTS]
    parameters = [name for name in signature if name not in given]
    needed = [name for name in parameters if signature[name].default is inspect.Parameter.empty]
    wrong = [f"{where} has an unknown setting {key}" for key in keys if key not in parameters]
    wrong += [f"{where} lacks the setting {name}" for name in needed if name not in keys]
    if wrong:
        raise UserError("\n".join(wrong) + f" (its settings are: {', '.join(parameters)}).")


def _retriever(node: DictConfig, name: str) -> None:
    find(node._target_)
    _callable_with(node, f"retriever.{name}", "sources")


def _known(values: Sequence[str], allowed: Sequence[str], name: str) -> None:
    """Raises UserError where a value is none of those allowed."""
    if unknown := [str(value) for value in values if value not in allowed]:
        near = [name for value in unknown for name in nearest(value, allowed)]
        meant = f"did you mean {', '.join(near)}? Choose" if near else "choose"
        raise UserError(f"{name}={unknown}: unknown; {meant} among {', '.join(allowed)}.")


def _retrieval(retrieval: Retrieval) -> None:
    if retrieval.rerank_depth > retrieval.depth:
        raise UserError(
            f"benchmark.retrieval.rerank_depth={retrieval.rerank_depth} must not be more than "
            f"depth={retrieval.depth}: candidates come from the dense run."
        )
    for hybrid, weights in retrieval.weights.items():
        _known(list(weights), REPRESENTATIONS, f"benchmark.retrieval.weights.{hybrid}")
