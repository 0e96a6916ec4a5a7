"""The Hydra tree as Python: where it lies, how it is checked as a whole, and what the stages are given."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from m3eval import __version__, tuned
from m3eval.benchmarks.normalize import NORMALIZERS
from m3eval.benchmarks.task import Benchmark, Task
from m3eval.benchmarks.texts import TextRules
from m3eval.console import say
from m3eval.encoders.encoder import TextEncoder
from m3eval.encoders.representations import REPRESENTATIONS
from m3eval.errors import UserError, together
from m3eval.layout import Layout
from m3eval.metrics.names import Metric, parse
from m3eval.reading import Heading, Reading
from m3eval.retrievers.retriever import find
from m3eval.runtime import Runtime, settle
from m3eval.stores import compression

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the tree inside the package; in a checkout it lies beside it.
CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def compose(*overrides: str, config: str = "config") -> DictConfig:
    """The configuration as the scripts (or the command whose file under conf/ is named) would get it from these words."""
    if GlobalHydra.instance().is_initialized():  # within a command, whose tree it is
        return hydra.compose(config, overrides=list(overrides))
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose(config, overrides=list(overrides))


# What a node says to the reports and not to its `_target_`.
FOR_REPORTS = ("reference", "tuned_on")


def builder(node: DictConfig) -> Callable[..., Any]:
    """The node's `_target_` with its settings filled in, still to be called: so its errors reach the user as they are."""
    settings = OmegaConf.to_container(node, resolve=True)
    return instantiate(
        {key: settings[key] for key in settings if key not in FOR_REPORTS},
        _partial_=True,
        _convert_="all",
    )


@dataclass(frozen=True)
class Retrieval:
    """A benchmark's retrieval protocol."""

    depth: int  # documents of a run per query
    rerank_depth: int  # dense candidates that multi_vector and all score
    weights: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # hybrid -> representation -> weight
    exclude_self: bool = False  # drop the document whose id is the query's own from every run


@dataclass
class Setup:
    """One configuration, checked and built: what every stage works with."""

    cfg: DictConfig

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark's files."""
        return builder(self.cfg.benchmark.source)()

    @cached_property
    def rules(self) -> TextRules:
        """How documents become text."""
        return TextRules(**OmegaConf.to_container(self.cfg.benchmark.text, resolve=True))

    @cached_property
    def retrieval(self) -> Retrieval:
        """Depths and weights."""
        return Retrieval(**OmegaConf.to_container(self.cfg.benchmark.retrieval, resolve=True))

    @cached_property
    def metrics(self) -> list[Metric]:
        """What stage 2 computes."""
        return [parse(name) for name in self.cfg.benchmark.metrics]

    @cached_property
    def runtime(self) -> Runtime:
        """The machine."""
        return settle(**self.cfg.runtime)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The encoder; its transformer is loaded with the first text."""
        return builder(self.cfg.encoder)(runtime=self.runtime)

    @property
    def languages(self) -> list[str]:
        """The languages asked for, by default all."""
        return list(self.cfg.languages or self.benchmark.languages)

    @cached_property
    def tasks(self) -> list[Task]:
        """One per language. Raises one UserError for all languages that cannot be opened."""
        return together(
            [functools.partial(self.benchmark.task, language) for language in self.languages]
        )

    @property
    def layout(self) -> Layout:
        """Where everything about this benchmark and this encoder lies."""
        return Layout.of(
            Path(self.cfg.output_dir).expanduser(), self.cfg.benchmark.name, self.cfg.encoder.name
        )

    @property
    def heading(self) -> Heading:
        """What headings say of the benchmark."""
        return Heading.configured(OmegaConf.to_container(self.cfg, resolve=True))

    @property
    def reading(self) -> Reading:
        """How much of a text the encoder reads."""
        return Reading.configured(OmegaConf.to_container(self.cfg, resolve=True))

    @property
    def title(self) -> str:
        """Benchmark, split and how much of a text the encoder reads, as tables state them."""
        return self.heading.said(self.reading)


def check(cfg: DictConfig) -> Setup:
    """Checks a configuration as a whole, before anything is loaded.

    Raises:
        UserError: lists everything that is wrong with it.
    """
    tuned.apply(cfg)
    setup = Setup(cfg)
    _resolvable(cfg)
    checks: list[Callable[[], Any]] = [
        lambda: _callable_with(cfg.benchmark.source, "benchmark.source"),
        lambda: _callable_with(cfg.encoder, "encoder", "runtime"),
        *[functools.partial(_retriever, cfg.retriever[name], str(name)) for name in cfg.retriever],
        lambda: setup.runtime,
        lambda: setup.metrics,
        lambda: _text(setup.rules),
        lambda: _retrieval(setup.retrieval),
        lambda: compression.Compression(**cfg.store.dense),
        lambda: _known(cfg.representations or [], REPRESENTATIONS, "representations"),
    ]
    together(checks)
    together([lambda: _known(cfg.languages or [], setup.benchmark.languages, "languages")])
    return setup


def stage(run: Callable[[Setup], None], cfg: DictConfig) -> None:
    """Checks a configuration and runs a stage on it.

    A `UserError` ends the program with status 2 and its message; Ctrl-C with 130 and the advice to run again.
    """
    try:
        say(f"m3eval {__version__} · {inspect.getdoc(run).splitlines()[0]}")
        run(check(cfg))
    except UserError as error:
        say(f"\nError: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("\nInterrupted. Run the same command again: what is finished is kept.")
        sys.exit(130)


def _resolvable(cfg: DictConfig) -> None:
    if missing := list(_missing(OmegaConf.to_container(cfg))):
        raise UserError(
            "These settings have no default and must be given: "
            + ", ".join(f"{key}=" for key in missing)
        )
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be resolved: {error}") from error


def _missing(node: Any, where: str = "") -> Iterator[str]:
    """Where a plain tree says ???."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _missing(value, f"{where}.{key}" if where else key)
    elif node == "???":
        yield where


def _callable_with(node: DictConfig, where: str, *given: str) -> None:
    """The node's `_target_` exists and takes exactly the node's keys, besides what the code passes itself."""
    try:
        signature = inspect.signature(get_object(node._target_))
    except Exception as error:
        raise UserError(f"{where}._target_={node._target_} cannot be imported: {error}") from error
    keys = [key for key in node if not str(key).startswith("_") and key not in FOR_REPORTS]
    parameters = [name for name in signature.parameters if name not in given]
    needed = [
        name for name in parameters if signature.parameters[name].default is inspect.Parameter.empty
    ]
    wrong = [f"{where} has an unknown setting {key}" for key in keys if key not in parameters]
    wrong += [f"{where} lacks the setting {name}" for name in needed if name not in keys]
    if wrong:
        raise UserError("\n".join(wrong) + f" (its settings are: {', '.join(parameters)}).")


def _retriever(node: DictConfig, name: str) -> None:
    find(node._target_)
    _callable_with(node, f"retriever.{name}", "sources")


def _known(values: Sequence[str], allowed: Sequence[str], name: str) -> None:
    if unknown := [value for value in values if value not in allowed]:
        raise UserError(f"{name}={unknown}: unknown; choose among {', '.join(allowed)}.")


def _text(rules: TextRules) -> None:
    _known(rules.document_fields, ["title", "text"], "benchmark.text.document_fields")
    _known([rules.normalize], list(NORMALIZERS), "benchmark.text.normalize")
    for name in ("max_query_length", "max_document_length"):
        if getattr(rules, name) < 8:
            raise UserError(
                f"benchmark.text.{name}={getattr(rules, name)}: at least 8 tokens are needed."
            )


def _retrieval(retrieval: Retrieval) -> None:
    if not 1 <= retrieval.rerank_depth <= retrieval.depth:
        raise UserError(
            f"benchmark.retrieval.rerank_depth={retrieval.rerank_depth} must lie between 1 and depth={retrieval.depth}: "
            "candidates come from the dense run."
        )
    for hybrid, weights in retrieval.weights.items():
        _known(list(weights), REPRESENTATIONS, f"benchmark.retrieval.weights.{hybrid}")
