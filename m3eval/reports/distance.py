"""The distance to published numbers: which one a score is held against, and what follows.

Whether the two are comparable is read off the runs' manifests, never assumed: what the published
protocol states (split, text rules, lengths, windows, depths, weights, whole corpus, checkpoint)
must be what a run was made with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from m3eval.comparable import Comparable, Obstacle
from m3eval.manifests import EncoderIdentity, RetrieverSettings, RunManifest, TextIdentity
from m3eval.reference.published import AVERAGE, Published, PublishedTable, find, numbers


@dataclass(frozen=True)
class Distance:
    """A score x 100 beside its published counterpart."""

    published: Published
    score: float
    comparable: Comparable
    tolerance: float  # points

    @property
    def delta(self) -> float:
        """The score minus the published number, in points."""
        return self.score - self.published.value

    @property
    def verdict(self) -> str:
        """`reproduced`, `differs`, or `not comparable: why`."""
        if not self.comparable:
            return "not comparable: " + "; ".join(map(str, self.comparable.obstacles))
        # Scores are floats: 69.5 - 69.2 must not exceed 0.3 by a rounding error.
        return "reproduced" if abs(self.delta) <= self.tolerance + 1e-9 else "differs"


@dataclass(frozen=True)
class PublishedSystems:
    """The published systems that a table's runs stand for."""

    benchmark: str  # as the published tables call it
    systems: Mapping[str, str]  # retriever -> system
    tolerance: float  # points
    manifests: Mapping[tuple[str, str], RunManifest]  # by retriever and language
    # SHA-256 of the published encoder's files; None: the user vouches for the encoder.
    files: Mapping[str, str] | None
    general: Collection[str]  # obstacles of every run
    partial: Mapping[str, str]  # language -> in what its counts are not the published ones

    def distance(self, metric: str, retriever: str, language: str, score: float) -> Distance | None:
        """A score held against its published counterpart; None if there is none.

        Args:
            metric: canonical name.
            retriever: of the table.
            language: of the table, or AVERAGE: comparable only over the published languages, each
                of them comparable.
            score: x 100.
        """
        languages = [name for run, name in self.manifests if run == retriever]
        average = language == AVERAGE
        manifest = self.manifests[retriever, languages[0] if average else language]
        published = self._published(metric, retriever, language, manifest)
        if published is None:
            return None
        if not average:
            verdict = self._comparable(published, metric, manifest)
            return Distance(published, score, verdict, self.tolerance)
        verdict = Comparable()
        for name in languages:
            part = self.distance(metric, retriever, name, score)
            of_run = self.manifests[retriever, name]  # some averages are printed without cells
            verdict += part.comparable if part else self._comparable(published, metric, of_run)
        if set(languages) != set(published.table.languages):
            verdict += _because(
                f"average over {len(languages)} languages, published over "
                f"{len(published.table.languages)}"
            )
        return Distance(published, score, verdict, self.tolerance)

    def coverage(self, distances: Collection[Distance], metrics: Collection[str]) -> str:
        """How much of what is published about these systems the table covers, averages aside.

        Args:
            distances: of all cells of the table.
            metrics: of the table.
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
        more = counts["not comparable"]
        return (
            f"{comparable} of {len(cells)} published numbers ({names}) covered: "
            f"{counts['reproduced']} reproduced within {self.tolerance:g} points, "
            f"{counts['differs']} differ" + (f"; {more} more are not comparable" if more else "")
        )

    def lacking(self, metric: str) -> list[str]:
        """In which languages nothing is published of systems that are in others, a line each."""
        lines = []
        for retriever, system in self.systems.items():
            cells = [c for c in numbers(self.benchmark, metric, system) if c[0] != AVERAGE]
            there = {language for language, _ in cells}
            without = [name for run, name in self.manifests if run == retriever]
            without = [name for name in without if name not in there]
            if there and without:
                names = dict.fromkeys(published.table.id for _, published in cells)
                lines.append(f"{' and '.join(names)} of {system} lack {', '.join(without)}")
        return lines

    def _published(
        self, metric: str, retriever: str, language: str, manifest: RunManifest
    ) -> Published | None:
        if retriever not in self.systems:
            return None
        length = manifest.documents.max_length
        return find(self.benchmark, metric, self.systems[retriever], language, length)

    def _comparable(self, published: Published, metric: str, manifest: RunManifest) -> Comparable:
        """Everything in which a run is not what the published number was made with."""
        verdict = _because(*self.general, self.partial.get(manifest.language))
        if manifest.encoder:  # BM25 over words has none
            verdict += _because(encoder_obstacle(self.files, manifest.encoder))
            verdict += same_input(published, manifest)
        for name, storage in manifest.compression.items():
            verdict += _because(str(storage) if name.startswith("corpus") else None)
        if manifest.approximate:
            verdict += _because("approximate, published with exact search")
        verdict += same_text_rules(published, manifest)
        verdict += same_settings(published, manifest.settings)
        for name, run in manifest.inputs.items():
            if of_input := self._published(metric, name, manifest.language, manifest):
                verdict += same_settings(of_input, run.settings).within(name)
        return verdict


def same_texts(table: PublishedTable, documents: TextIdentity) -> Comparable:
    """Whether documents were read by a table's split and text rules, whatever their lengths."""
    if table.text is None:
        return _because(f"{table.id} does not state its text rules")
    rules = {name: value for name, value in table.text.items() if name != "max_query_length"}
    if len(rules["document_fields"]) == 1:
        del rules["joint"]  # nothing is joined
    return _published_with(
        [
            ("split", documents.split, table.split),
            *((name, getattr(documents, name), value) for name, value in rules.items()),
        ]
    )


def same_text_rules(published: Published, manifest: RunManifest) -> Comparable:
    """Whether a run has the split, text rules and lengths that are published."""
    table, row = published.table, published.row
    documents, queries = manifest.documents, manifest.queries
    if table.text is None:
        return same_texts(table, documents)
    length = row.max_document_length or documents.max_length
    return same_texts(table, documents) + _published_with(
        [
            ("max_query_length", queries.max_length, table.text["max_query_length"]),
            ("max_document_length", documents.max_length, length),
        ]
    )


def same_input(published: Published, manifest: RunManifest) -> Comparable:
    """Whether a run's encoder reads long documents as the published system did."""
    if not manifest.stores or not manifest.encoder:
        return Comparable()  # BM25 over the encoder's tokens has no windows and no MCLS
    of_run, of_row = manifest.encoder, published.row.encoder
    return _published_with(
        [(name, of_run.get(name), of_row.get(name)) for name in ("windows", "mcls")]
    )


def same_settings(published: Published, settings: RetrieverSettings) -> Comparable:
    """Whether a run has the depth and the weights that are published."""
    row = published.row
    if row.settings is None:
        return _because(f"{published.table.id} does not state depth and weights of {row.system}")
    return _published_with(
        [(name, settings.get(name), value) for name, value in row.settings.items()]
    )


def encoder_obstacle(files: Mapping[str, str] | None, identity: EncoderIdentity) -> str | None:
    """Why the encoder is not the published one; None if it is.

    Args:
        files: SHA-256 of the published checkpoint's files; None: the user vouches for it.
        identity: of the encoder that made the runs; its files were hashed when it was loaded.
    """
    differing = [
        name for name, sha256 in (files or {}).items() if identity.files.get(name) != sha256
    ]
    if not differing:
        return None
    return f"another encoder than the published one ({', '.join(differing)})"


def _published_with(settings: Iterable[tuple[str, Any, Any]]) -> Comparable:
    """The verdict on settings, each given by its name, its value, and the published value."""
    return Comparable(
        tuple(
            Obstacle(name, f"{name} is {value!r}, published with {published!r}")
            for name, value, published in settings
            if value != published
        )
    )


def _because(*reasons: str | None) -> Comparable:
    return Comparable(tuple(Obstacle("", reason) for reason in reasons if reason))
