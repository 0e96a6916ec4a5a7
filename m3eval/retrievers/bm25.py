"""BM25 as Lucene has it, over the words that the analyser of a language makes of the texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from m3eval.kinds import Count, NotNegative, Share
from m3eval.retrievers import lucene
from m3eval.retrievers.retriever import retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources


@retriever("BM25 over the words of Lucene's analysers", "texts")
def search(sources: Sources, depth: Count, k1: NotNegative, b: Share, language: str | None) -> Run:
    """Indexes the corpus with the analyser of one language; queries pass through the same one.

    Args:
        sources: the texts.
        depth: documents per query.
        k1: how fast repetition saturates.
        b: how much length counts, 0 to 1.
        language: of the analyser; None: the corpus'.

    Raises:
        UserError: Java or Anserini are missing, or there is no analyser of that language.
    """
    language = language or sources.corpus_language
    # What it cannot analyse ends here, before an hour of indexing.
    lucene.analyzer(language, sources.runtime)
    sources.resolved["analyser"] = language
    path = sources.scratch / f"words-{language}"
    documents = _collection(sources.document_texts.read())
    lucene.build(path, documents, lucene.texts(language), sources.runtime)
    # The paper's scripts handed queries over in lines of a .tsv file.
    queries = [(qid, re.sub(r"[\n\t]", " ", text)) for qid, text in sources.query_texts.read()]
    return lucene.search_texts(path, language, queries, depth, k1, b, sources.runtime)


def _collection(texts: Iterator[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Documents as Anserini's JsonCollection reads them.

    It would leave blank ones out itself, uncounted.
    """
    return ({"id": docid, "contents": text} for docid, text in texts if text.strip())
