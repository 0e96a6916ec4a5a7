"""How much of a text a system reads, and what the headings of tables say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from m3eval.manifests import DenseStorage, RunManifest


@dataclass(frozen=True)
class Reading:
    """How much of queries and documents a system reads."""

    max_query_length: int  # tokens, special tokens included
    max_document_length: int
    windows: Mapping[str, int] | None = None  # size and stride of overlapping pieces of a document
    mcls: int | None = None  # tokens between two CLS tokens of a document
    # Retrievers over words cut no text; a hybrid with one reads some of its input whole.
    # Of a run that was made elsewhere nothing is known.
    whole_texts: Literal["no", "partly", "yes", "unknown"] = "no"

    @classmethod
    def configured(cls, config: Mapping[str, Any]) -> Reading:
        """What a configuration, composed or recorded, lets an encoder read."""
        text, encoder = config["benchmark"]["text"], config["encoder"]
        return cls(
            text["max_query_length"],
            text["max_document_length"],
            encoder.get("windows"),
            encoder.get("mcls"),
        )

    def __str__(self) -> str:
        if self.whole_texts == "yes":
            return "whole texts"
        if self.whole_texts == "unknown":
            return "unknown lengths"
        words = f"{self.max_query_length}/{self.max_document_length} tokens"
        if self.windows:
            words += f", windows {self.windows['size']}/{self.windows['stride']}"
        if self.mcls:
            words += f", a CLS every {self.mcls}"
        return words + (" and whole texts" if self.whole_texts == "partly" else "")


@dataclass(frozen=True)
class Heading:
    """What a table's heading says of its benchmark."""

    label: str
    split: str
    subset: bool  # not the whole benchmark
    own_document_excluded: bool
    storage: DenseStorage | None  # of dense vectors, where they are not whole and float16

    @classmethod
    def configured(cls, config: Mapping[str, Any]) -> Heading:
        """The heading for a configuration, composed or recorded."""
        benchmark = config["benchmark"]
        dense = config.get("store", {}).get("dense")  # absent in results of early versions
        return cls(
            benchmark["label"],
            benchmark["split"],
            bool(benchmark.get("subset")),
            bool(benchmark["retrieval"].get("exclude_self")),
            DenseStorage.configured(dense, "document") if dense else None,
        )

    def said(self, reading: Reading | None = None) -> str:
        """The benchmark and its split, and how much of a text is read if that is told."""
        parts = [
            self.split,
            "subset" if self.subset else "",
            "own document excluded" if self.own_document_excluded else "",
            str(self.storage or ""),
            str(reading or ""),
        ]
        return f"{self.label} ({', '.join(filter(None, parts))})"


def made_elsewhere(manifests: Mapping[tuple[str, str], RunManifest]) -> list[str]:
    """What tables say of systems that m3eval did not search with: a sentence for each.

    Args:
        manifests: of the runs, by system and language.
    """
    sentences = (
        f"{name} {'was' if run is manifest else f'builds on {run.retriever}, which was'} made "
        f"elsewhere and imported from {run.settings['file']}: how is not known here"
        for (name, _), manifest in manifests.items()
        for run in manifest.elsewhere
    )
    return list(dict.fromkeys(sentences))


def in_int8(manifests: Mapping[tuple[str, str], RunManifest]) -> list[str]:
    """What tables say of systems for which a model computed in 8 bits: a sentence, or none.

    Args:
        manifests: of the runs, by system and language.
    """
    names = dict.fromkeys(name for (name, _), run in manifests.items() if run.in_int8)
    return [f"{', '.join(names)}: computed in 8 bits (runtime.precision=int8)"] if names else []


def approximate(manifests: Mapping[tuple[str, str], RunManifest]) -> dict[str, str]:
    """What tables say of approximate systems: of each the least recall over its languages.

    That is by cutoff, rounded down, as in "approximate, recall@10/100/1000 .98/.97/.95".

    Args:
        manifests: of the runs, by system and language.
    """
    least: dict[str, dict[int, float]] = {}
    for (name, _), manifest in manifests.items():
        for recall in manifest.approximate.values():
            of_system = least.setdefault(name, {})
            for cutoff, share in recall.items():
                of_system[int(cutoff)] = min(share, of_system.get(int(cutoff), 1.0))
    return {
        name: f"approximate, recall@{'/'.join(map(str, sorted(shares)))} "
        + "/".join(_down(shares[cutoff]) for cutoff in sorted(shares))
        for name, shares in least.items()
    }


def approximate_lines(said: Mapping[str, str]) -> list[str]:
    """The lines below every table that has approximate systems: see `approximate`."""
    return [f"{name}: {words}" for name, words in said.items()]


def _down(share: float) -> str:
    return f"{math.floor(100 * share + 1e-9) / 100:.2f}".removeprefix("0")
