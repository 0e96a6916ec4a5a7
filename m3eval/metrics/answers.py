"""Answer recall: the share of questions with an answer string in one of the first k documents (MKQA, as DPR counts it).

Text and answers are put in NFD, cut into tokens and lower-cased; an answer matches where its tokens stand side by side.
Follows the matching of DPR and Contriever that FlagEmbedding's MKQA script uses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import regex

from m3eval.metrics.names import Metric
from m3eval.retrievers.run import Ranking

# Runs of letters, digits and marks, or single other characters that are neither white space nor control characters.
TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
ASCII_TOKEN = re.compile(r"[0-9A-Za-z]+|[!-~]")  # the same for text that is ASCII, twice as fast
Key = TypeVar("Key", bound=Hashable)

EDGE = "\0"  # a control character, so part of no token


def tokenize(text: str) -> list[str]:
    """DPR's tokens of a text, in their own case."""
    return (
        ASCII_TOKEN.findall(text)
        if text.isascii()
        else TOKEN.findall(unicodedata.normalize("NFD", text))
    )


def normal_form(text: str) -> str:
    """The tokens of a text between edges, so that `in` finds whole tokens side by side."""
    tokens = tokenize(text)
    # Lowering them joined is lowering each alone: an edge ends a word for sigma, whose lower case depends on that, too.
    return EDGE + EDGE.join(tokens).lower() + EDGE if tokens else EDGE


def fold(text: str) -> str:
    """A text in which every token of it, folded alone, is found again.

    Lower-casing a whole text could break that for sigma alone, whose lower case depends on what stands around it.
    """
    return (
        text.lower()
        if text.isascii()
        else unicodedata.normalize("NFD", text).lower().replace("ς", "σ")
    )


def clues(answer: str) -> list[str]:
    """The tokens of an answer, folded, the most telling first: a document that lacks one need not be cut into tokens."""
    return sorted({fold(token) for token in tokenize(answer)}, key=len, reverse=True)


def by_answers(
    run: Mapping[Key, Ranking],
    answers: Mapping[Key, Sequence[str]],
    documents: Iterable[tuple[str, str]],
    metrics: Sequence[Metric],
    denominator: Literal["all", "run"] = "all",
) -> dict[str, dict[Key, float]]:
    """1 for each question with an answer in the first k documents, else 0; a question the run lacks scores 0.

    Args:
        run: ranked documents by qid, or by any key that tells questions apart.
        answers: qid -> strings of which any one suffices; one without a single token matches everything, as in the
            reference.
        documents: docid and text of the corpus, as they were encoded; read once, and only what is ranked is kept.
        metrics: R@k only.
        denominator: run leaves out the questions for which the run has no document, as FlagEmbedding's script does.
    """
    deepest = max(metric.cutoff for metric in metrics)
    wanted: dict[str, list[tuple[Key, int]]] = {}  # docid -> (qid, rank)
    for qid in answers:
        for place, docid in enumerate(run[qid].docids[:deepest] if qid in run else [], start=1):
            wanted.setdefault(docid, []).append((qid, place))
    needles = {
        qid: [(clues(answer), normal_form(answer)) for answer in strings]
        for qid, strings in answers.items()
    }
    first = dict.fromkeys(answers, deepest + 1)
    for docid, text in documents:
        if docid in wanted:
            low, hay = fold(text), ""
            for qid, place in wanted[docid]:
                if place >= first[qid]:
                    continue
                for tokens, needle in needles[qid]:
                    if not hay and all(map(low.__contains__, tokens)):
                        hay = normal_form(text)
                    if hay and needle in hay:
                        first[qid] = place
                        break
    if denominator == "run":
        first = {qid: place for qid, place in first.items() if qid in run and run[qid].docids}
    return {
        str(metric): {qid: float(place <= metric.cutoff) for qid, place in first.items()}
        for metric in metrics
    }
