"""What things were made of: the records that stand beside texts, stores, runs and results.

How two of them are compared is in `comparable.py`, how they are read and written in `records.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from m3eval.content import Content
from m3eval.records import Settings
from m3eval.seals import Seal, Seals

Representation = Literal["dense", "sparse", "multi_vector", "term_vectors"]
REPRESENTATIONS: tuple[Representation, ...] = ("dense", "sparse", "multi_vector", "term_vectors")


class EncoderIdentity(Settings):
    """All that decides what an encoder gives: its name, its files by hash, and its settings."""

    @property
    def name(self) -> str:
        """The encoder's name, which stands in the names of stores and results."""
        return self["name"]

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the checkpoint's files; empty where there are none, as of a service."""
        return self.get("files", {})


class RetrieverSettings(Settings):
    """All that decides how a retriever searches: what its YAML holds, and the benchmark's rules."""

    @property
    def target(self) -> str:
        """The dotted name of the retriever."""
        return self["_target_"]

    @property
    def depth(self) -> int:
        """The most documents that a query gets."""
        return self["depth"]

    @property
    def exclude_self(self) -> bool:
        """Whether the document that has the query's own id was dropped."""
        return self["exclude_self"]

    @property
    def tuned_on(self) -> Mapping[str, Any] | None:
        """Where weights that a file gave come from; None: they are the configuration's."""
        return self.get("tuned_on")


@dataclass(frozen=True, kw_only=True)
class TextIdentity:
    """What was read: one set of texts, by the rules that made them and by their content."""

    benchmark: str
    split: str
    # The settings that they were read by. Number and hash tell what they are, these where from.
    source: dict[str, Any] = field(default_factory=dict, metadata={"compared": False})
    set: str  # name of the text set: corpus-ko, queries-ko
    document_fields: list[str] | None  # joined to one text; None: of queries
    joint: str | None
    normalize: str | None = None  # absent in records of early versions
    max_length: int  # tokens, special tokens included
    # Known once all texts were read. Which of the hashes must agree: `comparable.differences`.
    count: int | None = field(default=None, metadata={"optional": True})
    sum: str | None = field(default=None, metadata={"optional": True})  # see `Content.sum`
    # Of all texts in turn: early versions had no other, and shares have none of it.
    sha256: str | None = field(default=None, metadata={"optional": True})

    @property
    def rules(self) -> TextIdentity:
        """The same without what reading tells."""
        return replace(self, count=None, sum=None, sha256=None)

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes that are known, by name; `comparable.differences` compares them."""
        known = {"sum": self.sum, "sha256": self.sha256}
        return {name: value for name, value in known.items() if value}

    @property
    def hash(self) -> str:
        """The hashes that are known, in words."""
        return ", ".join(map(" ".join, self.hashes.items())) or "no hash"


@dataclass(frozen=True)
class DenseStorage:
    """How dense vectors are kept where they are not whole and float16."""

    dimensions: int | None  # the first so many numbers of a vector; None: all
    type: Literal["float16", "float32", "int8", "binary"]

    @classmethod
    def configured(cls, settings: Mapping[str, Any], role: str) -> DenseStorage | None:
        """What `store.dense` says of queries or documents; None: whole and float16.

        Queries stay float16, or float32 where documents are: nothing is rounded then.
        """
        kind = settings["type"]
        if role == "query" and kind != "float32":
            kind = "float16"
        storage = cls(settings["dimensions"], kind)
        return None if storage == cls(None, "float16") else storage

    def __str__(self) -> str:
        return f"dense vectors {self.type}, {self.dimensions or 'all'} dimensions"


@dataclass(frozen=True, kw_only=True)
class StorePlan:
    """All that decides the content of a store."""

    texts: TextIdentity
    encoder: EncoderIdentity
    representations: list[Representation]
    shard_size: int  # the most texts that a shard holds
    dense: DenseStorage | None = field(default=None, metadata={"optional": True})
    # Versions of libraries and the device: these agree within a store.
    made_with: dict[str, str]
    # Where the texts came from, by repository; their hash is in `texts`, of a finished store.
    commits: dict[str, str | None] = field(default_factory=dict, metadata={"compared": False})

    @property
    def rules(self) -> StorePlan:
        """The same without what reading the texts tells: by it shards are made."""
        return replace(self, texts=self.texts.rules)


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A shard of a store: shard.json."""

    texts: int
    tokens: int  # that the model read
    truncated: int  # texts that were longer than the limit
    vocabulary: int | None = field(default=None, metadata={"optional": True})  # of sparse vectors
    # What its texts were; absent in stores of early versions.
    content: Content | None = field(default=None, metadata={"optional": True})
    # Absent in stores of early versions: the digest of the plan's rules, every other file,
    # and `seals.sealed`.
    plan: str | None = field(default=None, metadata={"optional": True})
    files: dict[str, Seal] = field(default_factory=dict, metadata={"optional": True})
    sealed: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class StoreTotals:
    """What a store holds."""

    texts: int
    tokens: int  # that the model read
    truncated: int  # texts that were longer than the limit


@dataclass(frozen=True)
class StoreManifest:
    """A finished store."""

    plan: StorePlan
    totals: StoreTotals
    shards: list[int]  # the number of texts in each
    bytes: dict[str, int]  # by representation
    # Absent in stores of early versions: the SHA-256 of each shard's record, and `seals.sealed`.
    records: list[str] = field(default_factory=list, metadata={"optional": True})
    sealed: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class StoreCost:
    """What encoding took. It does not change what a store is, so it is no part of its manifest."""

    tokens: int
    seconds: float
    runtime: str
    # Which self-attention ran; None: none of ours, or it was not recorded.
    attention: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class ForeignFile:
    """The file of a run that others made."""

    path: str  # as it was given
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunManifest:
    """All that decides a run, and all that the runs it builds on rest on."""

    benchmark: str
    language: str
    retriever: str
    settings: RetrieverSettings
    inputs: dict[str, RunManifest]  # the runs it builds on, by retriever
    stores: dict[str, str]  # digest of the manifest, by text set
    texts: dict[str, TextIdentity]  # by text set
    commits: dict[str, str | None] = field(metadata={"compared": False})
    # Of stores that do not keep whole float16 vectors, by text set.
    compression: dict[str, DenseStorage] = field(default_factory=dict, metadata={"optional": True})
    encoder: EncoderIdentity | None  # None: no encoder decides it
    # What a model of the retriever's own is; None: it has none.
    model: dict[str, Any] | None = field(default=None, metadata={"optional": True})
    # Where a run comes from that was made elsewhere; None: m3eval searched.
    foreign: ForeignFile | None = field(default=None, metadata={"optional": True})
    # What settings came to that leave it to the language; empty in runs of earlier versions.
    resolved: dict[str, str | None] = field(
        default_factory=dict, metadata={"optional": True, "compared": False}
    )
    # By retriever, of this run and those that it builds on, where they are approximate: by cutoff,
    # the share of the exact lists that was found.
    approximate: dict[str, dict[str, float]] = field(
        default_factory=dict, metadata={"optional": True, "compared": False}
    )
    m3eval: str  # version that made it
    # The run and its component scores as they were written; empty in runs of earlier versions.
    files: Seals = field(default_factory=dict, metadata={"optional": True, "compared": False})

    @property
    def elsewhere(self) -> list[RunManifest]:
        """Which were made elsewhere of this run and those that it builds on."""
        below = [run for other in self.inputs.values() for run in other.elsewhere]
        return [self, *below] if self.foreign else below

    @property
    def in_int8(self) -> bool:
        """Whether a model computed in 8 bits for this run or for one that it builds on.

        An encoder whose tokens alone are counted computes nothing.
        """
        encoder = self.encoder if self.stores else None
        here = any(each.get("precision") == "int8" for each in (encoder, self.model) if each)
        return here or any(run.in_int8 for run in self.inputs.values())

    @property
    def documents(self) -> TextIdentity:
        """The documents that were searched."""
        return next(texts for name, texts in self.texts.items() if name.startswith("corpus"))

    @property
    def queries(self) -> TextIdentity:
        """The queries that were asked."""
        return next(texts for name, texts in self.texts.items() if name.startswith("queries"))


@dataclass(frozen=True)
class RunCost:
    """What a search took."""

    queries: int
    seconds: float
    runtime: str
    # Which self-attention ran where texts were encoded again; None: none were.
    attention: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class Provenance:
    """What the numbers of a result rest on."""

    config: dict[str, Any]  # the whole configuration, resolved
    encoder: EncoderIdentity | None  # None: no run needed one
    texts: dict[str, TextIdentity]
    stores: dict[str, str]
    commits: dict[str, str | None] = field(default_factory=dict)
    runs_made_with: list[str] = field(default_factory=list)  # versions of m3eval
    evaluated_with: dict[str, str] = field(default_factory=dict)  # versions of libraries


@dataclass(frozen=True)
class PublishedDistance:
    """A score beside its published counterpart, as a result's file has it."""

    language: str  # or the average over all
    retriever: str
    table: str  # where the published number stands
    reference: float  # the published number, x 100
    delta: float  # the score minus the published number, in points
    verdict: str  # reproduced, differs, or not comparable: why


@dataclass(frozen=True, kw_only=True)
class Result:
    """The scores of an encoder's systems on a benchmark: scores.json."""

    title: str  # benchmark, split, and how much of a text the encoder reads
    encoder: str  # what tables call it
    unit: str
    judged_queries: dict[str, int]  # by language
    # Metric -> retriever -> language -> x 100; None: see `metrics/means.py`.
    scores: dict[str, dict[str, dict[str, float | None]]]
    distances: dict[str, list[PublishedDistance]] = field(default_factory=dict)  # by metric
    coverage: str | None = None  # how much of what is published is covered, in a sentence
    read_whole_texts: list[str] = field(default_factory=list)  # retrievers that cut no text
    # Metric -> group of queries -> retriever -> language -> x 100; empty where there are no groups.
    groups: dict[str, dict[str, dict[str, dict[str, float | None]]]] = field(
        default_factory=dict, metadata={"optional": True}
    )
    # Metric -> language -> x 100 of a random order of the documents; empty where it is not told.
    chance: dict[str, dict[str, float | None]] = field(
        default_factory=dict, metadata={"optional": True}
    )
    # What a reader must know of how the scores came about, a sentence each.
    notes: list[str] = field(default_factory=list, metadata={"optional": True})
    # By retriever that is approximate: what its recall is, in words.
    approximate: dict[str, str] = field(default_factory=dict, metadata={"optional": True})
    provenance: Provenance
    # The tables beside it as they were written; empty in results of earlier versions.
    files: Seals = field(default_factory=dict, metadata={"optional": True})
    # The digest of all the rest, which `records.read` compares; None: of an earlier version.
    sealed: str | None = field(default=None, metadata={"optional": True})
