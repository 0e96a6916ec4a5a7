"""BM25 over the token ids of the encoder's tokenizer.

This is the baseline of the M3 paper's main tables ("XLM-R" in its Table 11). Texts are cut where
the encoder cuts them, special tokens are dropped, and ids are taken as words. `native` computes
Lucene's formula from postings of our own; `lucene` indexes the ids as strings of digits, as the
paper did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m3eval.benchmarks.texts import TextSet, shards
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.errors import UserError
from m3eval.files import read_json, write_folder, write_json
from m3eval.kinds import Count, NotNegative, Share
from m3eval.lazy import scipy
from m3eval.retrievers import lucene, postings
from m3eval.retrievers import scores as maths
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.stores.arrays import save_array

BLOCK_CHARACTERS = 4_000_000  # tokenised at once; bounds memory
DIGITS = "en"  # the language whose analyser lets numbers pass as they are; the paper's


@retriever("BM25 over the encoder's tokens", "texts", "tokenizer")
def search(
    sources: Sources, depth: Count, k1: NotNegative, b: Share, engine: Literal["native", "lucene"]
) -> Run:
    """Scores every document that shares a token with a query; others are not retrieved.

    The engines agree to 1e-4 in scores. With lucene, equal scores are in Lucene's own order (see
    `lucene.search_texts`).

    Args:
        sources: the texts and the encoder.
        depth: documents per query.
        k1: how fast repetition saturates.
        b: how much length counts, 0 to 1.
        engine: native or lucene.

    Raises:
        UserError: the engine is unknown, or Lucene's and not installed.
    """
    if engine not in ("native", "lucene"):
        raise UserError(f"retriever.bm25_tokens.engine={engine}: choose native or lucene.")
    tokenization = sources.encoder().tokenization
    if tokenization is None:  # which the configuration of a run does not get past
        raise UserError("bm25_tokens counts tokens of m3eval's own encoders: use bm25 or bm25s.")
    qids, texts = zip(*sources.query_texts.read(), strict=True)
    queries = count(tokenization, texts, sources.query_texts.max_length)
    documents = Counts.of(
        sources.document_texts,
        tokenization,
        sources.scratch / "tokens",
        sources.runtime.search_block,
    )
    if engine == "native":
        idf = maths.bm25_idf(documents.frequencies, documents.texts)
        weights = scipy.sparse.csr_array(
            (queries.data * idf[queries.indices], queries.indices, queries.indptr), queries.shape
        )
        return postings.search(
            qids,
            weights,
            _saturated(documents, k1, b),
            sources.docids,
            depth,
            sources.runtime.threads,
        )
    path = sources.scratch / "digits"
    collection = _collection(sources.document_texts, documents)
    lucene.build(path, collection, lucene.texts(DIGITS), sources.runtime)
    asked = list(zip(qids, map(_string, queries), strict=True))
    return lucene.search_texts(path, DIGITS, asked, depth, k1, b, sources.runtime)


def count(
    tokenization: Tokenization, texts: Iterable[str], max_length: int
) -> scipy.sparse.csr_array:
    """[n, vocabulary] float32: how often each text has each token, special tokens left out.

    Args:
        tokenization: the encoder's; no prefix is put before a text.
        texts: n texts.
        max_length: tokens, special tokens included, at which a text is cut.
    """
    rows = [
        np.unique(ids, return_counts=True)
        for ids in tokenization(list(texts), max_length, special=False).ids
    ]
    tokens, counts = (np.concatenate(column) for column in zip(*rows, strict=True))
    ends = np.cumsum([0, *(len(ids) for ids, _ in rows)])
    shape = (len(rows), tokenization.tokenizer.get_vocab_size())
    return scipy.sparse.csr_array((counts.astype(np.float32), tokens, ends), shape=shape)


@dataclass(frozen=True)
class Counts:
    """The token counts of a corpus: a folder of blocks, and what BM25 must know of all of them."""

    path: Path
    starts: list[int]  # first row of each block
    frequencies: np.ndarray  # [vocabulary] int64: documents that have a token
    texts: int  # documents that have any token
    tokens: int  # of all documents

    @classmethod
    def of(cls, texts: TextSet, tokenization: Tokenization, path: Path, most: int) -> Counts:
        """Counts a corpus into the folder `path`, or opens what was counted there.

        Blocks have at most `most` documents.
        """

        def fill(folder: Path) -> None:
            frequencies = np.zeros(tokenization.tokenizer.get_vocab_size(), np.int64)
            starts, documents, tokens = [0], 0, 0
            for i, part in enumerate(shards(texts.read(), most, BLOCK_CHARACTERS)):
                block = count(tokenization, (text for _, text in part), texts.max_length)
                scipy.sparse.save_npz(folder / f"{i}.npz", block, compressed=False)
                frequencies += np.bincount(block.indices, minlength=len(frequencies))
                documents += int((np.diff(block.indptr) > 0).sum())
                tokens += int(block.data.sum(dtype=np.float64))
                starts.append(starts[-1] + len(part))
            save_array(folder / "frequencies.npy", frequencies)
            totals = {"starts": starts[:-1], "texts": documents, "tokens": tokens}
            write_json(folder / "totals.json", totals)

        if not path.exists():
            write_folder(path, fill)
        frequencies = np.load(path / "frequencies.npy")
        return cls(path, frequencies=frequencies, **read_json(path / "totals.json"))

    def blocks(self) -> Iterator[tuple[int, Callable[[], scipy.sparse.csr_array]]]:
        """First row, and what reads the [p, vocabulary] float32 counts, of consecutive blocks."""
        return (
            (start, partial(scipy.sparse.load_npz, self.path / f"{i}.npz"))
            for i, start in enumerate(self.starts)
        )


def _saturated(documents: Counts, k1: float, b: float) -> Iterator[postings.Block]:
    """The documents' weights as `postings.search` reads them."""
    average = documents.tokens / max(documents.texts, 1)

    def saturating(
        read: Callable[[], scipy.sparse.csr_array],
    ) -> Callable[[np.ndarray], scipy.sparse.csr_array]:
        return lambda tokens: maths.bm25_saturation(read(), average, k1, b)[:, tokens]

    for start, read in documents.blocks():
        yield start, saturating(read)


def _collection(texts: TextSet, documents: Counts) -> Iterator[dict[str, Any]]:
    """Documents as Anserini's JsonCollection reads them: tokens as words, in no order.

    Documents without a token are left out.
    """
    rows = (row for _, read in documents.blocks() for row in read())
    for (docid, _), row in zip(texts.read(), rows, strict=True):
        if row.nnz:
            yield {"id": docid, "contents": _string(row)}


def _string(row: scipy.sparse.csr_array) -> str:
    return " ".join(np.repeat(row.indices, row.data.astype(int)).astype(str))
