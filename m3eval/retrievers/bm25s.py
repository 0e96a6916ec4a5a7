"""BM25 of the package bm25s: pure Python, words by regular expression, Snowball stemmers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.kinds import Count, NotNegative, Share
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run, ranked
from m3eval.retrievers.sources import Sources

# Language -> Snowball's name of it.
STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
# Languages that bm25s has stop words for.
STOP_WORDS = ("da", "de", "en", "es", "fr", "it", "ko", "nl", "no", "pt", "ru", "sv", "tr")
UNSPACED = ("ja", "km", "th", "zh")  # written without white space: a clause would become one word


@retriever("BM25 by bm25s", "texts")
def search(
    sources: Sources,
    depth: Count,
    k1: NotNegative,
    b: Share,
    method: str,
    stemmer: str | None,
    stop_words: str | None,
    fill: bool,
) -> Run:
    """Scores every document that shares a word with a query, whatever the method gives it.

    Some methods give all documents of a query a score, some give one that shares a word none.
    Memory holds the words of the whole corpus.

    Args:
        sources: the texts.
        depth: documents per query.
        k1: how fast repetition saturates.
        b: how much length counts, 0 to 1.
        method: bm25s' variant of BM25.
        stemmer: Snowball's name of a language; None: none; auto: the corpus' language's, or none
            where there is none.
        stop_words: a language code of `STOP_WORDS`; None: none; auto: the corpus' language's, or
            none.
        fill: documents that share no word follow with what the method gives them, as in the lists
            that bm25s returns; else they are not retrieved.

    Raises:
        UserError: the package is not installed, a stemmer or list of stop words does not exist, or
            the corpus' language has no spaces between words.
    """
    if find_spec("bm25s") is None or find_spec("Stemmer") is None:
        raise UserError("retriever=[bm25s] needs two packages: pip install 'm3eval[bm25s]'.")
    import bm25s
    import Stemmer

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG

    language = sources.corpus_language
    if "auto" in (stemmer, stop_words) and language in UNSPACED:
        raise UserError(
            f"bm25s splits at white space, which {language} is written without: use "
            "retriever=[bm25] or [bm25_tokens], or say what it shall do all the same: "
            "retriever.bm25s.stemmer=null retriever.bm25s.stop_words=null."
        )
    stemmer = STEMMERS.get(language) if stemmer == "auto" else stemmer
    if stop_words == "auto":
        stop_words = language if language in STOP_WORDS else None
    _known("stemmer", stemmer, Stemmer.algorithms())
    _known("stop_words", stop_words, STOP_WORDS)
    _known("method", method, ("lucene", "robertson", "atire", "bm25l", "bm25+"))
    sources.resolved |= {"stemmer": stemmer, "stop words": stop_words}
    stem = Stemmer.Stemmer(stemmer) if stemmer else None

    def words(texts: tuple[str, ...], ids: bool) -> Any:
        return bm25s.tokenize(
            list(texts), stopwords=stop_words, stemmer=stem, return_ids=ids, show_progress=False
        )

    docids, texts = zip(*sources.document_texts.read(), strict=True)
    index = bm25s.BM25(k1=k1, b=b, method=method)
    corpus = words(texts, ids=True)  # numbers take less memory than words
    qids, texts = zip(*sources.query_texts.read(), strict=True)
    if not any(corpus.ids):
        say(
            f"  bm25s {sources.language}: no document has a word that is indexed"
            + (", stop words aside" if stop_words else "")
        )
        returned = docids if fill else ()
        nothing = ranked(returned, np.zeros(len(returned), np.float32), depth)
        return dict.fromkeys(qids, nothing)
    index.index(corpus, show_progress=False)
    run: Run = {}
    for qid, query in zip(qids, words(texts, ids=False), strict=True):
        known = index.get_tokens_ids(query)
        scores = index.get_scores_from_ids(known)
        rows = np.arange(len(docids)) if fill else _sharing(index, known)
        run[qid] = ranked([docids[row] for row in rows], scores[rows], depth)
    return run


def _sharing(index: Any, words: Sequence[int]) -> np.ndarray:
    """The rows of the documents that have one of the words, in order."""
    starts, rows = index.scores["indptr"], index.scores["indices"]
    found = [rows[starts[word] : starts[word + 1]] for word in words]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def _known(setting: str, value: str | None, allowed: tuple[str, ...] | list[str]) -> None:
    if value is not None and value not in allowed:
        raise UserError(
            f"retriever.bm25s.{setting}={value}: choose auto, null or one of {', '.join(allowed)}."
        )
