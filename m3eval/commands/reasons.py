"""Why a document scores what it scores: shared terms and best-matching tokens, for the drill-down.

Lexical weights come from the sparse stores. For MaxSim the evidence is, for each token of the
query, the token of the document that matches it best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import Role
from m3eval.commands.drilldown import EncoderRuns
from m3eval.encoders.encoder import TextEncoder
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.lazy import scipy, torch
from m3eval.reports.site.queries import Evidence, SharedTerm, Span, TokenPair
from m3eval.retrievers import late_interaction
from m3eval.retrievers.document_vectors import Documents
from m3eval.retrievers.sources import Sources
from m3eval.stages.language import LanguageRuns

SHOWN = 5  # terms, and token pairs, of a document


class AskedPairs(NamedTuple):
    """The queries and documents that evidence is asked for: n pairs."""

    keys: list[tuple[str, str]]  # qid and docid
    query_rows: np.ndarray  # [n] int64, rows of the queries' store
    document_rows: np.ndarray  # [n] int64, rows of the corpus's store

    @classmethod
    def of(cls, docids: Mapping[str, list[str]], sources: Sources) -> AskedPairs:
        """Looks up the rows of docids by qid."""
        keys = [(qid, docid) for qid, of_query in docids.items() for docid in of_query]
        query_rows = {qid: row for row, qid in enumerate(sources.queries.ids)}
        document_rows = sources.corpus.rows_of({docid for _, docid in keys})
        return cls(
            keys,
            np.array([query_rows[qid] for qid, _ in keys], np.int64),
            np.array([document_rows[docid] for _, docid in keys], np.int64),
        )


class Explainer:
    """Finds evidence for one language and one encoder, from its stores."""

    def __init__(self, runs: EncoderRuns, task: Task) -> None:
        self.sources: Sources = LanguageRuns(runs.setup, task).sources
        self.encoder: TextEncoder = runs.setup.encoder
        # None: nothing tells where a text's tokens stand in it, so there is no evidence.
        self.tokenization = self.encoder.tokenization
        self.has_sparse = all(
            "sparse" in store.plan.representations
            for store in (self.sources.corpus, self.sources.queries)
        )
        self.has_multi_vectors = (
            "multi_vector" in self.encoder.representations and "multi_vector" in runs.retrievers
        )

    def explain(
        self,
        docids: Mapping[str, list[str]],
        queries: Mapping[str, str],
        texts: Mapping[str, str],
    ) -> dict[tuple[str, str], Evidence]:
        """The evidence of every query and each of its documents.

        Args:
            docids: by qid.
            queries: texts by qid.
            texts: of the documents by docid.
        """
        evidence = {
            (qid, docid): Evidence() for qid, of_query in docids.items() for docid in of_query
        }
        if not evidence or self.tokenization is None:
            return evidence
        pairs = AskedPairs.of(docids, self.sources)
        places = TokenPlaces(
            self.encoder,
            self.tokenization,
            {
                "query": self.sources.query_texts.max_length,
                "document": self.sources.document_texts.max_length,
            },
        )
        if self.has_sparse:
            terms = self._shared_terms(pairs, texts, places)
            for key, of_pair in zip(pairs.keys, terms, strict=True):
                evidence[key].terms = of_pair
        if self.has_multi_vectors:
            for i, matches in self._best_matches(pairs).items():
                qid, docid = pairs.keys[i]
                evidence[qid, docid].pairs = token_pairs(
                    matches,
                    places.of_vectors(queries[qid], "query"),
                    places.of_vectors(texts[docid], "document"),
                )
        return evidence

    def _shared_terms(
        self, pairs: AskedPairs, texts: Mapping[str, str], places: TokenPlaces
    ) -> list[list[SharedTerm]]:
        """For each pair, the shared tokens with the largest products of weights."""
        queries = self.sources.queries.sparse(pairs.query_rows)
        documents = self.sources.corpus.sparse(pairs.document_rows)
        return [
            shared_terms(_weights(queries, i), _weights(documents, i), texts[docid], places)
            for i, (_, docid) in enumerate(pairs.keys)
        ]

    def _best_matches(self, pairs: AskedPairs) -> dict[int, np.ndarray]:
        """For each pair, by its number: what each token of the query matches best.

        Returns:
            [tokens of the query, 2] float32: the number of the document's token that matches best,
            and the inner product.
        """
        vectors = self.sources.query_vectors()
        pairs_of_row: dict[int, list[int]] = defaultdict(list)
        for i, row in enumerate(pairs.document_rows.tolist()):
            pairs_of_row[row].append(i)

        def numbers(rows: np.ndarray) -> list[int]:
            return [i for row in rows.tolist() for i in pairs_of_row[row]]

        def match(rows: np.ndarray, documents: Documents) -> torch.Tensor:
            query_and_document = [
                (pairs.query_rows[i], position)
                for position, row in enumerate(rows.tolist())
                for i in pairs_of_row[row]
            ]  # [n, 2]
            return late_interaction.best_matches(
                vectors, documents, np.array(query_and_document, np.int64)
            )

        distinct = np.unique(pairs.document_rows)
        matches_of: dict[int, np.ndarray] = {}
        for rows, matches in self.sources.over_documents(distinct, match, lambda n: None):
            for i, of_pair in zip(numbers(rows), matches, strict=True):
                length = int(vectors.lengths[pairs.query_rows[i]])
                matches_of[i] = of_pair[:length]  # without the padding of shorter queries
        return matches_of


def shared_terms(
    query: Mapping[int, float], document: Mapping[int, float], text: str, places: TokenPlaces
) -> list[SharedTerm]:
    """The shared tokens with the largest products of weights.

    Args:
        query: weights of the query by token id.
        document: weights of the document, likewise.
        text: the document's.
        places: where tokens stand.
    """
    products = {
        token: query[token] * weight for token, weight in document.items() if token in query
    }
    shared = [token for token, product in products.items() if product > 0]
    shared = sorted(shared, key=lambda token: -products[token])[:SHOWN]
    spans = places.of_ids(text, set(shared)) if shared else {}
    return [
        SharedTerm(places.word(token), query[token], document[token], spans.get(token))
        for token in shared
    ]


def token_pairs(
    matches: np.ndarray, query_spans: list[Span], document_spans: list[Span]
) -> list[TokenPair]:
    """The query's tokens with the largest maxima, each with the document's token.

    Args:
        matches: [tokens of the query, 2], as `late_interaction.best_matches` gives them.
        query_spans: where the token of each vector of the query stands.
        document_spans: likewise of the document.
    """
    best = sorted(range(len(matches)), key=lambda token: -matches[token, 1])[:SHOWN]
    return [
        TokenPair(
            _within_text(query_spans[token]),
            _within_text(document_spans[int(matches[token, 0])]),
            float(matches[token, 1]),
        )
        for token in best
    ]


class TokenPlaces:
    """Where the tokens of a text stand in it. Every text is tokenised once."""

    def __init__(
        self, encoder: TextEncoder, tokenization: Tokenization, limits: Mapping[Role, int]
    ) -> None:
        """Nothing is tokenised yet.

        Args:
            encoder: has the prefixes of texts.
            tokenization: the encoder's.
            limits: tokens at which texts are cut.
        """
        self.prefixes, self.limits = encoder.prefixes, limits
        self.tokenization, self.tokenizer = tokenization, tokenization.tokenizer
        self.known: dict[tuple[Role, str], tuple[list[int], list[Span]]] = {}

    def tokens(self, text: str, role: Role) -> tuple[list[int], list[Span]]:
        """Ids and places of all tokens, special ones and the prefix included.

        A token of the prefix begins below 0.
        """
        if (role, text) not in self.known:
            prefix = self.prefixes[role]
            self.tokenizer.no_padding()
            self.tokenizer.enable_truncation(self.limits[role])
            encoding = self.tokenizer.encode(prefix + text)
            before = len(prefix)
            spans = [Span(start - before, end - before) for start, end in encoding.offsets]
            self.known[role, text] = encoding.ids, spans
        return self.known[role, text]

    def of_vectors(self, text: str, role: Role) -> list[Span]:
        """The place of each multi-vector's token: of all tokens after CLS and prefix."""
        _, spans = self.tokens(text, role)
        return spans[1 + self.tokenization.prefix_tokens(self.prefixes[role]) :]

    def of_ids(self, text: str, ids: set[int]) -> dict[int, Span]:
        """Where each of these token ids stands first in a document."""
        first: dict[int, Span] = {}
        for token, span in zip(*self.tokens(text, "document"), strict=True):
            if token in ids and token not in first and _within_text(span):
                first[token] = span
        return first

    def word(self, token: int) -> str:
        """A token as people read it."""
        piece = self.tokenizer.id_to_token(int(token)) or f"#{token}"
        return piece.replace("▁", " ").strip() or "▁"


def _within_text(span: Span) -> Span | None:
    """None for a special token and for one of the prefix: they stand nowhere in the text."""
    return span if 0 <= span.start < span.end else None


def _weights(matrix: scipy.sparse.csr_array, row: int) -> dict[int, float]:
    """The weights of one text by token id."""
    low, high = matrix.indptr[row : row + 2]
    tokens, weights = matrix.indices[low:high], matrix.data[low:high]
    return dict(zip(tokens.tolist(), weights.tolist(), strict=True))
