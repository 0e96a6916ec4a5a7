"""A retriever as data: the function that searches, what it reads, and what people call it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from hydra.utils import get_object

from m3eval.errors import UserError
from m3eval.manifests import ForeignFile, Representation, RunManifest
from m3eval.reading import Reading

if TYPE_CHECKING:
    from m3eval.retrievers.run import Run

Material = Literal["stores", "texts", "tokenizer"]
Settings = Mapping[str, Any]  # of one retriever, as under `retriever.NAME` in the configuration


@dataclass(frozen=True)
class Retriever:
    """What the `_target_` of every file under conf/retriever names."""

    search: Callable[..., Run]
    """(sources, **settings) -> the run of one language."""
    label: str
    """What it is, in a few words."""
    reads: frozenset[Material]
    """What it reads besides other runs. Stage 1 asks for nothing else."""
    stored: tuple[Representation, ...] = ()
    """The representations of a document that it needs, besides those of what it builds on."""
    model: Callable[[Settings], dict[str, Any]] | None = None
    """Identifies the model that these settings name; None where it has no model of its own."""
    foreign: Callable[[Settings, str], ForeignFile] | None = None
    """Finds the file of a run for a language, where others made it; None: m3eval searches."""

    partitioned: Callable[[Settings], bool] | None = None
    """Whether these settings search any part of the shards (`sources.searched`) by itself: whether
    a score depends on query and document alone. None: never."""

    def __call__(self, *arguments: Any, **settings: Any) -> Run:
        """Searches: see `search`."""
        return self.search(*arguments, **settings)

    @property
    def __signature__(self) -> inspect.Signature:
        """The signature of `search`, against which a configuration is checked."""
        return inspect.signature(self.search)

    @property
    def needs_encoder(self) -> bool:
        """Whether an encoder decides the run: by its stores, or by the tokens that are counted."""
        return not self.reads.isdisjoint(("stores", "tokenizer"))

    @property
    def indexes_texts(self) -> bool:
        """Whether it makes an index of the texts, which stage 1 removes when it is done."""
        return "texts" in self.reads and self.model is None and self.foreign is None

    @property
    def reads_whole_texts(self) -> bool:
        """Whether no text is cut: neither an encoder's tokenizer nor a model reads it."""
        return self.reads == {"texts"} and self.indexes_texts


def retriever(
    label: str,
    *reads: Material,
    stored: tuple[Representation, ...] = (),
    model: Callable[[Settings], dict[str, Any]] | None = None,
    foreign: Callable[[Settings, str], ForeignFile] | None = None,
    partitioned: Callable[[Settings], bool] | None = None,
) -> Callable[[Callable[..., Run]], Retriever]:
    """Makes a `Retriever` of the function below it; the arguments are the fields so named."""
    return lambda search: Retriever(
        search, label, frozenset(reads), stored, model, foreign, partitioned
    )


def find(target: str) -> Retriever:
    """The retriever that a `_target_` of the configuration names, m3eval's own or a user's.

    Raises:
        UserError: nothing has that name, or what has it is no retriever.
    """
    try:
        named = get_object(target)
    except Exception as error:
        raise UserError(f"The retriever {target} cannot be imported: {error}") from error
    if not isinstance(named, Retriever):
        raise UserError(
            f"{target} is not a retriever: put @retriever(label, what it reads) above the function "
            "(see m3eval/retrievers/retriever.py)."
        )
    return named


def shipped(target: str) -> Retriever | None:
    """The retriever of this package that a `_target_` names; None for anything else.

    It imports modules of m3eval.retrievers only, so it may be asked about a `_target_` that stands
    in a file of somebody else.
    """
    name = re.fullmatch(r"(m3eval\.retrievers\.[a-z]\w*)\.(\w+)", target)
    if name is None:
        return None
    try:
        named = getattr(importlib.import_module(name[1]), name[2], None)
    except ModuleNotFoundError:
        return None
    return named if isinstance(named, Retriever) else None


def inputs(settings: Settings) -> list[str]:
    """The names of the retrievers on whose runs one with these settings builds."""
    return list(settings.get("inputs") or ())


def with_inputs(names: Iterable[str], settings: Callable[[str], Settings]) -> list[str]:
    """The names, each once and after those that it builds on, which are added.

    Args:
        names: the retrievers that are wanted.
        settings: gives the settings of the retriever of a name.

    Raises:
        UserError: a retriever builds on itself, directly or through others.
    """
    ordered: list[str] = []

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise UserError(
                f"These retrievers build on each other: {circle}. Set retriever.{name}.inputs= to "
                "others."
            )
        if name not in ordered:
            for other in inputs(settings(name)):
                add(other, (*above, name))
            ordered.append(name)

    for name in names:
        add(name, ())
    return ordered


def reading(
    manifest: RunManifest, configured: Reading, known: Callable[[str], Retriever]
) -> Reading:
    """How much of a text a run reads, with the runs it builds on.

    Args:
        manifest: of the run.
        configured: what an encoder reads by the configuration.
        known: gives the retriever of a `_target_` that a record names, or refuses it.
    """
    own = known(manifest.settings.target)
    if own.foreign:
        return replace(configured, whole_texts="unknown")
    parts = {reading(run, configured, known).whole_texts for run in manifest.inputs.values()}
    if own.reads:  # a union of runs reads nothing itself
        parts.add("yes" if own.reads_whole_texts else "no")
    whole = "unknown" if "unknown" in parts else parts.pop() if len(parts) == 1 else "partly"
    return replace(configured, whole_texts=whole)
