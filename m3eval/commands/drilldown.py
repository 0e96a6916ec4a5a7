"""Single queries of several systems, side by side: what was found, why, and what it is worth. Feeds the site's drill-down.

A document's reasons are read off what its score is made of: component scores from the run's own file, lexical weights from the
sparse stores, and for MaxSim the document token that matches each query token best.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from m3eval.benchmarks.task import Role, Task, document_texts
from m3eval.commands.recorded import command
from m3eval.config import Setup, check, compose
from m3eval.encoders.encoder import TextEncoder
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.encoders.representations import Packed
from m3eval.errors import UserError
from m3eval.manifests import read_record
from m3eval.metrics.ranking import Scores
from m3eval.retrievers import scores as maths
from m3eval.retrievers.run import Run, read_run
from m3eval.retrievers.sources import Sources
from m3eval.stages.evaluate import judge, read_manifest, text_differences
from m3eval.stages.search import LanguageSearch

SHOWN = 5  # terms and token pairs of a document
Span = tuple[int, int]  # characters of a text, from and to


@dataclass(frozen=True)
class Folder:
    """One encoder's runs on a benchmark, with the configuration that stage 2 recorded."""

    path: Path
    setup: Setup

    @property
    def name(self) -> str:
        """The encoder's."""
        return self.setup.cfg.encoder.name

    @property
    def retrievers(self) -> list[str]:
        """Those that were scored."""
        return list(self.setup.cfg.retriever)

    def has_stores(self, task: Task) -> bool:
        """Whether stage 0 was needed: without stores there are scores, but no reasons."""
        return (self.setup.store_path(f"corpus-{task.corpus.name}") / "manifest.json").exists()


def open_folder(path: Path, words: list[str]) -> Folder:
    """A folder outputs/{benchmark}/{encoder}.

    Args:
        path: the folder.
        words: settings that replace recorded ones, as in benchmark.root=/data.

    Raises:
        UserError: stage 2 did not score it, or the configuration cannot be used here.
    """
    file = path / "scores" / "scores.json"
    if not file.exists():
        raise UserError(
            f"{file} does not exist: run step2_eval.py, or give outputs/BENCHMARK/ENCODER."
        )
    made = command(
        read_record(file)["provenance"]
    )  # settings that are newer than the runs get their defaults
    if made.gone:
        raise UserError(
            f"{file} records settings that exist no longer ({', '.join(made.gone)}): run step2_eval.py again."
        )
    setup = check(compose(*made.words, *words))
    setup.cfg.output_dir = str(path.resolve().parent.parent)
    if setup.folder != path.resolve():
        raise UserError(
            f"{path} holds runs of {setup.cfg.benchmark.name}/{setup.cfg.encoder.name}: keep that folder's name."
        )
    return Folder(path, setup)


@dataclass
class Evidence:
    """Why a document scores what it scores, beyond its score."""

    terms: list[tuple[str, float, float, Span | None]] = field(
        default_factory=list
    )  # token, weights in query and document
    pairs: list[tuple[Span | None, Span | None, float]] = field(
        default_factory=list
    )  # in query and document, inner product


@dataclass
class Found:
    """A system's list for one query: its first documents, best first, and where the relevant ones are."""

    docids: list[str]
    scores: list[float]
    components: dict[str, list[float]]
    ranks: dict[str, int]  # of relevant documents, however deep


@dataclass
class Language:
    """One language of a benchmark as several systems see it."""

    task: Task
    metric: str
    systems: list[str]
    scores: dict[str, Scores]  # system -> metric -> qid -> score
    found: dict[str, dict[str, Found]]  # system -> qid -> list
    folders: list[Folder]
    depth: int

    @cached_property
    def queries(self) -> dict[str, str]:
        """Judged queries and their texts, in order."""
        texts = {query.qid: query.text for query in self.task.queries}
        return {qid: texts[qid] for qid in self.task.judged if qid in texts}

    def spread(self, qid: str) -> float:
        """How far the best and the worst system are apart on a query."""
        values = [scores[self.metric].get(qid, 0.0) for scores in self.scores.values()]
        return max(values) - min(values)

    @cached_property
    def order(self) -> list[str]:
        """Queries by how much systems differ on them, most first; of equals in the benchmark's order."""
        return sorted(self.queries, key=lambda qid: -self.spread(qid))

    def shown(self, qid: str) -> list[str]:
        """The documents that any system has for a query, each once."""
        return list(
            dict.fromkeys(
                docid
                for found in self.found.values()
                if qid in found
                for docid in found[qid].docids
            )
        )

    def texts(self, docids: set[str]) -> dict[str, str]:
        """Documents as encoders read them, in one pass over the corpus."""
        read = document_texts(self.task.corpus, self.folders[0].setup.rules).read()
        return {docid: text for docid, text in read if docid in docids}


def languages(folders: list[Folder], depth: int) -> Iterator[Language]:
    """Every language that the first folder has, with the systems of all folders that have it too.

    Raises:
        UserError: a run is missing or is of other texts than configured, or judged queries differ.
    """
    first = folders[0].setup
    for task in first.tasks:
        here = [folder for folder in folders if task.language in folder.setup.languages]
        scores: dict[str, Scores] = {}
        found: dict[str, dict[str, Found]] = {}
        for folder, name in [(one, name) for one in here for name in one.retrievers]:
            path = folder.setup.run_path(name, task.language)
            if lines := text_differences(folder.setup, task, read_manifest(path)):
                raise UserError(
                    f"The run {path} is of other texts than configured:\n  " + "\n  ".join(lines)
                )
            label = name if len(folders) == 1 else f"{folder.name}/{name}"
            run = read_run(path)
            scores |= judge(first, task, [(label, run)], first.metrics[:1])
            found[label] = _heads(run, path.with_suffix(".components.tsv"), depth, task)
        yield Language(task, str(first.metrics[0]), list(found), scores, found, here, depth)


def _heads(run: Run, components: Path, depth: int, task: Task) -> dict[str, Found]:
    """The first documents of every query, with component scores where the run has a file of them."""
    heads = {}
    for qid, ranking in run.items():
        relevant = {docid for docid, grade in (task.qrels or {}).get(qid, {}).items() if grade > 0}
        ranks = {docid: i for i, docid in enumerate(ranking.docids, start=1) if docid in relevant}
        heads[qid] = Found(ranking.docids[:depth], ranking.scores[:depth].tolist(), {}, ranks)
    if components.exists():
        frame = pd.read_csv(
            components, sep="\t", dtype={"qid": str, "docid": str}, keep_default_na=False, quoting=3
        )
        names = [name for name in frame.columns if name not in ("qid", "docid")]
        for head in heads.values():
            head.components = {name: [0.0] * len(head.docids) for name in names}
        place = {
            (qid, docid): i for qid, head in heads.items() for i, docid in enumerate(head.docids)
        }
        values = frame[names].to_numpy(np.float32)
        for row, (qid, docid) in enumerate(zip(frame["qid"], frame["docid"], strict=True)):
            if (i := place.get((qid, docid))) is not None:
                for name, value in zip(names, values[row].tolist(), strict=True):
                    heads[qid].components[name][i] = value
    return heads


class Explainer:
    """Reasons for one language and one encoder, from its stores."""

    def __init__(self, folder: Folder, task: Task) -> None:
        self.sources: Sources = LanguageSearch(folder.setup, task, {}).sources
        self.encoder: TextEncoder = folder.setup.encoder
        # Without it a text's tokens cannot be found in it, so there are scores but no reasons.
        self.tokenization = self.encoder.tokenization
        self.has_sparse = all(
            "sparse" in store.plan["representations"]
            for store in (self.sources.corpus, self.sources.queries)
        )
        self.has_pairs = (
            "multi_vector" in self.encoder.representations and "multi_vector" in folder.retrievers
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
