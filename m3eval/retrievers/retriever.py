"""A retriever as data: the function that searches, what it reads, and what people call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hydra.utils import get_object

from m3eval.encoders.representations import Representation
from m3eval.errors import UserError
from m3eval.retrievers.run import Run

Material = Literal["stores", "texts", "tokenizer"]


@dataclass(frozen=True)
class Retriever:
    """What `_target_` of every file under conf/retriever names."""

    search: Callable[..., Run]  # (sources, **settings) -> the run of one language
    label: str  # what it is, in a few words
    reads: frozenset[Material]  # besides other runs; stage 1 asks for nothing else
    stored: tuple[Representation, ...] = ()  # of a document, what it has on disk
    model: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Settings -> what a model of its own is; None: it has none."""

    def __call__(self, *arguments: Any, **settings: Any) -> Run:
        """Searches: see `search`."""
        return self.search(*arguments, **settings)

    @property
    def __signature__(self) -> inspect.Signature:
        """Of `search`, against which a configuration is checked."""
        return inspect.signature(self.search)

    @property
    def needs_encoder(self) -> bool:
        """Whether an encoder decides the run: its stores, or the tokens it counts."""
        return not self.reads.isdisjoint(("stores", "tokenizer"))

    @property
    def reads_whole_texts(self) -> bool:
        """Whether no text is cut: it has neither an encoder's tokens nor a model of its own."""
        return self.reads == {"texts"} and self.model is None


def retriever(
    label: str,
    *reads: Material,
    stored: tuple[Representation, ...] = (),
    model: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
) -> Callable[[Callable[..., Run]], Retriever]:
    """Makes a `Retriever` of the function below it; the arguments are its fields."""
    return lambda search: Retriever(search, label, frozenset(reads), stored, model)


def find(target: str) -> Retriever:
    """The retriever that a `_target_` names.

    Raises:
        UserError: there is nothing of that name, or it is no retriever.
    """
    try:
        found = get_object(target)
    except Exception as error:
        raise UserError(f"The retriever {target} cannot be imported: {error}") from error
    if not isinstance(found, Retriever):
        raise UserError(
            f"{target} is no retriever: put @retriever(label, what it reads) above the function "
            "(m3eval/retrievers/retriever.py)."
        )
    return found
