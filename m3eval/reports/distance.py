"""The distance to published numbers: which one a score is held against, whether the two are comparable, and what follows.

Comparability is read off the manifests of the runs, never assumed: what the published protocol states (split, text rules,
lengths, windows, depths, weights, whole corpus, checkpoint) must be what a run was made with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from m3eval.reference.published import AVERAGE, Published, find, numbers
from m3eval.stores import compression

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Distance:
    """A score x 100 beside its published counterpart."""

    published: Published
    score: float
    obstacles: tuple[str, ...]  # why the two are not comparable; empty: they are
    tolerance: float

    @property
    def delta(self) -> float:
        """Ours minus theirs, in points."""
        return self.score - self.published.value

    @property
    def verdict(self) -> str:
        """`reproduced`, `differs`, or `not comparable: why`."""
        if self.obstacles:
            return "not comparable: " + "; ".join(self.obstacles)
        # Scores are floats: 69.5 - 69.2 must not exceed 0.3 by a rounding error.
        return "reproduced" if abs(self.delta) <= self.tolerance + 1e-9 else "differs"


@dataclass(frozen=True)
class Comparison:
    """A report's runs, and the published systems they stand for."""

    benchmark: str  # as the published tables call it
    systems: Mapping[str, str]  # retriever -> system
    tolerance: float  # points
    manifests: Mapping[tuple[str, str], Manifest]  # (retriever, language) -> of its run
    files: (
        Mapping[str, str] | None
    )  # SHA-256 of the published encoder's files; None: the user vouches for the encoder
    general: Collection[str]  # obstacles of every run
    partial: Mapping[str, str]  # language -> counts that are not the published ones

    def distance(self, metric: str, retriever: str, language: str, score: float) -> Distance | None:
        """A score held against its published counterpart; None if there is none.

        Args:
            metric: canonical name.
            retriever: of the report.
            language: of the report, or AVERAGE: comparable only over the published languages, each of them comparable.
            score: x 100.
        """
        languages = [name for run, name in self.manifests if run == retriever]
        manifest = self.manifests[retriever, languages[0] if language == AVERAGE else language]
        published = self._published(metric, retriever, language, manifest)
        if published is None:
            return None
        if language != AVERAGE:
            return Distance(
                published, score, self._obstacles(published, metric, manifest), self.tolerance
            )
        parts = [self.distance(metric, retriever, name, score) for name in languages]
        found = dict.fromkeys(obstacle for part in parts if part for obstacle in part.obstacles)
        if set(languages) != set(published.table.languages):
            found[
                f"average over {len(languages)} languages, published over {len(published.table.languages)}"
            ] = None
        return Distance(published, score, tuple(found), self.tolerance)

    def coverage(self, distances: Collection[Distance], metrics: Collection[str]) -> str:
        """How much of what is published about these systems the report covers, averages aside, in one sentence.

        Args:
            distances: of all cells of the report.
            metrics: of the report.
        """
        cells = [
            published
            for metric in metrics
            for system in self.systems.values()
            for language, published in numbers(self.benchmark, metric, system)
            if language != AVERAGE
        ]
        names = " and ".join(dict.fromkeys(published.table.id for published in cells))
        counts = Counter(distance.verdict.partition(":")[0] for distance in distances)
        comparable = counts["reproduced"] + counts["differs"]
        return (
            f"{comparable} of {len(cells)} published numbers ({names}) covered: {counts['reproduced']} reproduced within "
            f"{self.tolerance:g} points, {counts['differs']} differ"
            + (
                f"; {counts['not comparable']} more are not comparable"
                if counts["not comparable"]
                else ""
            )
        )

    def _published(
        self, metric: str, retriever: str, language: str, manifest: Manifest
    ) -> Published | None:
        if retriever not in self.systems:
            return None
        length = _texts(manifest, "corpus")["max_length"]
        return find(self.benchmark, metric, self.systems[retriever], language, length)

    def _obstacles(self, published: Published, metric: str, manifest: Manifest) -> tuple[str, ...]:
        """Everything in which a run is not what the published number was made with."""
        found = [*self.general, *filter(None, [self.partial.get(manifest["language"])])]
        if manifest["encoder"]:  # BM25 over words has none
            found += filter(None, [encoder_obstacle(self.files, manifest["encoder"])])
            found += input_obstacles(published, manifest)
        kept = manifest.get("compression", {}).items()
        found += [
            compression.words(settings) for name, settings in kept if name.startswith("corpus")
        ]
        found += text_obstacles(published, manifest)
        found += settings_obstacles(published, manifest)
        for name, made_from in manifest["inputs"].items():
            published_input = self._published(metric, name, manifest["language"], manifest)
            if published_input:
                found += [
                    f"{name}: {line}" for line in settings_obstacles(published_input, made_from)
                ]
        return tuple(found)


def text_obstacles(published: Published, manifest: Manifest) -> list[str]:
    """Split, text rules and lengths in which a run differs from what is published."""
    table, row = published.table, published.row
    documents, queries = _texts(manifest, "corpus"), _texts(manifest, "queries")
    if table.text is None:
        return [f"{table.id} does not state its text rules"]
    rules = {name: value for name, value in table.text.items() if name != "max_query_length"}
    if len(rules["document_fields"]) == 1:
        del rules["joint"]  # nothing is joined
    pairs = [
        (name, documents[name], value) for name, value in ({"split": table.split} | rules).items()
    ]
    pairs.append(("max_query_length", queries["max_length"], table.text["max_query_length"]))
    pairs.append(
        (
            "max_document_length",
            documents["max_length"],
            row.max_document_length or documents["max_length"],
        )
    )
    return [
        f"{name} is {ours!r}, published with {theirs!r}"
        for name, ours, theirs in pairs
        if ours != theirs
    ]


def input_obstacles(published: Published, manifest: Manifest) -> list[str]:
    """Windows and MCLS, in which a run's encoder read long documents otherwise than what is published."""
    if not manifest["stores"]:  # BM25 over the encoder's tokens has no use for either
        return []
    pairs = [
        (name, manifest["encoder"].get(name), published.row.encoder.get(name))
        for name in ("windows", "mcls")
    ]
    return [
        f"{name} is {ours}, published with {theirs}"
        for name, ours, theirs in pairs
        if ours != theirs
    ]


def settings_obstacles(published: Published, manifest: Manifest) -> list[str]:
    """Depth and weights in which a run differs from what is published."""
    theirs, ours = published.row.settings, manifest["settings"]
    if theirs is None:
        return [f"{published.table.id} does not state depth and weights of {published.row.system}"]
    return [
        f"{name} is {ours.get(name)}, published with {value}"
        for name, value in theirs.items()
        if ours.get(name) != value
    ]


def encoder_obstacle(files: Mapping[str, str] | None, identity: Mapping[str, Any]) -> str | None:
    """Why the encoder is not the published one; None if it is.

    Args:
        files: SHA-256 of the published checkpoint's files; None: the user vouches for the checkpoint.
        identity: of the encoder that made the runs; its `files` were hashed when it was loaded.
    """
    found = identity.get("files", {})
    other = [name for name, sha256 in (files or {}).items() if found.get(name) != sha256]
    return f"another encoder than the published one ({', '.join(other)})" if other else None


def _texts(manifest: Manifest, role: str) -> Mapping[str, Any]:
    """The identity of the run's documents or queries."""
    return next(texts for name, texts in manifest["texts"].items() if name.startswith(role))
