"""What stages and commands are given: one configuration, and what it builds once it is asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hydra.utils import get_object
from omegaconf import DictConfig

from m3eval import buckets
from m3eval.benchmarks.task import Benchmark, Task
from m3eval.benchmarks.texts import TextRules
from m3eval.config.schema import Retrieval
from m3eval.config.tree import plain, targets
from m3eval.errors import UserError, together
from m3eval.layout import Layout
from m3eval.metrics.names import Metric, parse
from m3eval.reading import Heading, Reading
from m3eval.remote import is_url
from m3eval.retrievers.retriever import Retriever, find
from m3eval.runtime import Runtime, settle

if TYPE_CHECKING:
    from m3eval.encoders.encoder import TextEncoder

# Where runs lie that no encoder took part in: the name in conf/encoder/none.yaml.
NO_ENCODER_FOLDER = "no_encoder"
# What a node says to the reports and not to its `_target_`.
FOR_REPORTS = ("reference", "tuned_on")
Made = TypeVar("Made")


def builder(node: DictConfig) -> functools.partial[Any]:
    """The node's `_target_` with its settings filled in, still to be called.

    Settings are values, whatever they hold: what lies deeper is not built, and Hydra's own keys
    (`_args_`, `_partial_`) mean nothing.
    """
    settings = plain(node)
    target = get_object(settings.pop("_target_"))
    return functools.partial(
        target, **{key: value for key, value in settings.items() if key not in FOR_REPORTS}
    )


@dataclass
class Setup:
    """One configuration and what it builds, each part when it is first asked for."""

    cfg: DictConfig
    words: Sequence[str] = ()  # of the command line, where there is one
    made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, make: Callable[[Setup], Made]) -> Made:
        """What a function makes of this configuration: made once, whoever asks for it."""
        if make not in self.made:
            self.made[make] = make(self)
        return self.made[make]

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark's files."""
        return builder(self.cfg.benchmark.source)()

    @cached_property
    def rules(self) -> TextRules:
        """How documents become text."""
        return TextRules(**plain(self.cfg.benchmark.text))

    @cached_property
    def retrieval(self) -> Retrieval:
        """Depths and weights."""
        return Retrieval(**plain(self.cfg.benchmark.retrieval))

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
        """The encoder; its transformer is loaded with the first text.

        Raises:
            UserError: there is none.
        """
        if self.cfg.encoder._target_ is None:
            raise UserError(
                f"There is no encoder: {', '.join(self.cfg.retriever)} need none. To use one, "
                "name it, as in encoder=bge_m3."
            )
        return builder(self.cfg.encoder)(runtime=self.runtime)

    @cached_property
    def retrievers(self) -> dict[str, Retriever]:
        """The configured retrievers by name."""
        return {str(name): find(node._target_) for name, node in self.cfg.retriever.items()}

    def recorded_retriever(self, target: str) -> Retriever:
        """The retriever that a record names: of the configuration's files, or configured now.

        Raises:
            UserError: it is neither. A record may be anybody's: nothing else is imported for it.
        """
        configured = {str(node._target_) for node in self.cfg.retriever.values()}
        if target not in configured | targets():
            raise UserError(
                f"A run was made by {target}, which no retriever of m3eval is: give the "
                "--config-dir that it was made with."
            )
        return find(target)

    @property
    def needs_encoder(self) -> bool:
        """Whether an encoder decides any of the runs."""
        return any(retriever.needs_encoder for retriever in self.retrievers.values())

    @property
    def needs_stores(self) -> bool:
        """Whether any retriever reads what stage 0 writes."""
        return any("stores" in retriever.reads for retriever in self.retrievers.values())

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
    def output_folder(self) -> Path:
        """The folder of all outputs; of a URL, what stands for it on this machine.

        Raises:
            UserError: there is no such bucket, it refuses, or cannot be reached.
        """
        if is_url(self.cfg.output_dir):
            return self.once(_output_of_url)
        return Path(self.cfg.output_dir).expanduser()

    @property
    def layout(self) -> Layout:
        """Where everything about this benchmark and this encoder lies: see `output_folder`."""
        return Layout.of(self.output_folder, self.cfg.benchmark.name, self.cfg.encoder.name)

    @property
    def heading(self) -> Heading:
        """What headings say of the benchmark."""
        return Heading.configured(plain(self.cfg))

    @property
    def reading(self) -> Reading:
        """How much of a text the encoder reads; without one, whole texts are read."""
        reading = Reading.configured(plain(self.cfg))
        return reading if self.needs_encoder else replace(reading, whole_texts="yes")

    @property
    def title(self) -> str:
        """Benchmark, split and how much of a text is read, as tables state them."""
        return self.heading.said(self.reading)


def _output_of_url(setup: Setup) -> Path:
    runtime = setup.runtime
    return buckets.output(
        setup.cfg.output_dir, runtime.cache, runtime.cache_limit, setup.cfg.benchmark.name
    )
