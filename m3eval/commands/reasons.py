"""Why a document scores what it scores: shared terms and best-matching tokens, for the drill-down.

Lexical weights come from the sparse stores; for MaxSim it is the document's token that matches each
query token best.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import Role
from m3eval.commands.drilldown import EncoderRuns
from m3eval.encoders.encoder import TextEncoder
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.encoders.representations import Packed
from m3eval.lazy import torch
from m3eval.retrievers import scores as maths
from m3eval.retrievers.sources import Sources
from m3eval.stages.language import LanguageRuns, ReadTexts

SHOWN = 5  # terms and token pairs of a document
Span = tuple[int, int]  # characters of a text, from and to


@dataclass
class Evidence:
    """Why a document scores what it scores, beyond its score."""

    terms: list[tuple[str, float, float, Span | None]] = field(
        default_factory=list
    )  # token, weights in query and document
    pairs: list[tuple[Span | None, Span | None, float]] = field(
        default_factory=list
    )  # in query and document, inner product


class Explainer:
    """Reasons for one language and one encoder, from its stores."""

    def __init__(self, runs: EncoderRuns, task: Task) -> None:
        self.sources: Sources = LanguageRuns(runs.setup, task, ReadTexts(runs.setup)).sources
        self.encoder: TextEncoder = runs.setup.encoder
        # None: a text's tokens cannot be found in it, so its encoder gets no reasons.
        self.tokenization = self.encoder.tokenization
        self.has_sparse = all(
            "sparse" in store.plan.representations
            for store in (self.sources.corpus, self.sources.queries)
        )
        self.has_pairs = (
            "multi_vector" in self.encoder.representations and "multi_vector" in runs.retrievers
        )

    def explain(
        self, asked: Mapping[str, list[str]], queries: Mapping[str, str], texts: Mapping[str, str]
    ) -> dict[tuple[str, str], Evidence]:
        """Evidence of every (qid, docid).

        Args:
            asked: docids by qid.
            queries: texts by qid.
            texts: of documents by docid.
        """
        keys = [(qid, docid) for qid, docids in asked.items() for docid in docids]
        found = {key: Evidence() for key in keys}
        if not keys or self.tokenization is None:
            return found
        place = {qid: i for i, qid in enumerate(self.sources.queries.ids)}
        rows = self.sources.corpus.rows_of({docid for _, docid in keys})
        pairs = np.array([(place[qid], rows[docid]) for qid, docid in keys], np.int64)
        where = Places(
            self.encoder,
            self.tokenization,
            self.sources.document_texts.max_length,
            self.sources.query_texts.max_length,
        )
        if self.has_sparse:
            self._terms(found, keys, pairs, texts, where)
        if self.has_pairs:
            self._pairs(found, keys, pairs, queries, texts, where)
        return found

    def _terms(
        self, found: dict, keys: list, pairs: np.ndarray, texts: Mapping[str, str], where: Places
    ) -> None:
        """The shared tokens with the largest products of weights."""
        asked, given = (
            self.sources.queries.sparse(pairs[:, 0]),
            self.sources.corpus.sparse(pairs[:, 1]),
        )
        for i, key in enumerate(keys):
            ours = dict(zip(*_row(asked, i), strict=True))
            shared = [
                (t, ours[t], w)
                for t, w in zip(*_row(given, i), strict=True)
                if t in ours and ours[t] * w > 0
            ]
            shared.sort(key=lambda one: -one[1] * one[2])
            spans = (
                where.of_ids(texts[key[1]], {token for token, *_ in shared[:SHOWN]})
                if shared
                else {}
            )
            found[key].terms = [
                (where.word(t), ours_, theirs, spans.get(t)) for t, ours_, theirs in shared[:SHOWN]
            ]

    def _pairs(
        self,
        found: dict,
        keys: list,
        pairs: np.ndarray,
        queries: Mapping[str, str],
        texts: Mapping[str, str],
        where: Places,
    ) -> None:
        """For the query tokens with the largest maxima: the document token that each matches best."""
        vectors = self.sources.query_vectors()
        order = np.argsort(pairs[:, 1], kind="stable")
        by_row = {int(row): some.tolist() for row, some in _groups(pairs[order, 1], order)}

        def match(some: np.ndarray, given: Packed) -> torch.Tensor:
            those = np.array(
                [(pairs[i, 0], j) for j, row in enumerate(some) for i in by_row[int(row)]], np.int64
            )
            return maths.best_matches(vectors, given, those)

        for some, values in self.sources.over_documents(
            np.unique(pairs[:, 1]), match, lambda n: None
        ):
            numbers = [i for row in some for i in by_row[int(row)]]
            for i, matches in zip(numbers, values, strict=True):
                qid, docid = keys[i]
                n = int(vectors.lengths[pairs[i, 0]])
                best = sorted(range(n), key=lambda token, m=matches: -m[token, 1])[:SHOWN]
                asked, given = (
                    where.vectors(queries[qid], "query"),
                    where.vectors(texts[docid], "document"),
                )
                found[keys[i]].pairs = [
                    (
                        _at(asked, token),
                        _at(given, int(matches[token, 0])),
                        float(matches[token, 1]),
                    )
                    for token in best
                ]


class Places:
    """Where the tokens of a text stand in it."""

    def __init__(
        self,
        encoder: TextEncoder,
        tokenization: Tokenization,
        document_length: int,
        query_length: int,
    ) -> None:
        self.encoder = encoder
        self.limits = {"document": document_length, "query": query_length}
        self.tokenization, self.tokenizer = tokenization, tokenization.tokenizer
        self.known: dict[tuple[Role, str], tuple[list[int], list[Span]]] = {}

    def tokens(self, text: str, role: Role) -> tuple[list[int], list[Span]]:
        """Ids and characters, special tokens and prefix included; the prefix's characters count below 0."""
        if (role, text) not in self.known:
            prefix = self.encoder.prefixes[role]
            self.tokenizer.no_padding()
            self.tokenizer.enable_truncation(self.limits[role])
            encoding = self.tokenizer.encode(prefix + text)
            spans = [(start - len(prefix), end - len(prefix)) for start, end in encoding.offsets]
            self.known[role, text] = encoding.ids, spans
        return self.known[role, text]

    def vectors(self, text: str, role: Role) -> list[Span]:
        """The characters of each vector's token: those after CLS and prefix."""
        _, spans = self.tokens(text, role)
        prefix = self.encoder.prefixes[role]
        return spans[1 + self.tokenization.prefix_tokens(prefix) :]

    def of_ids(self, text: str, wanted: set[int]) -> dict[int, Span]:
        """Where each of some token ids stands first in a document."""
        found: dict[int, Span] = {}
        for token, (start, end) in zip(*self.tokens(text, "document"), strict=True):
            if token in wanted and token not in found and 0 <= start < end:
                found[token] = (start, end)
        return found

    def word(self, token: int) -> str:
        """A token as people read it."""
        return (self.tokenizer.id_to_token(int(token)) or f"#{token}").replace(
            "▁", " "
        ).strip() or "▁"


def _at(spans: list[Span], i: int) -> Span | None:
    """Characters of a token, None for a special one."""
    start, end = spans[i]
    return (start, end) if 0 <= start < end else None


def _row(matrix: Any, i: int) -> tuple[list[int], list[float]]:
    low, high = matrix.indptr[i : i + 2]
    return matrix.indices[low:high].tolist(), matrix.data[low:high].tolist()


def _groups(keys: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for key, group in itertools.groupby(
        zip(keys.tolist(), values.tolist(), strict=True), key=lambda one: one[0]
    ):
        yield key, np.array([value for _, value in group])
