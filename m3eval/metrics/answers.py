"""Answer recall: the share of questions with an answer in one of the first k documents.

MKQA is judged so, as DPR counts it. Text and answers are put in NFD, cut into tokens and
lower-cased; an answer matches where its tokens stand side by side. Follows the matching of DPR and
Contriever that FlagEmbedding's MKQA script uses.

DPR's tokens are runs of letters, so that a whole clause in a script without spaces between words is
one token, and no answer in it is ever found. Where a benchmark's protocol does not ask for DPR's
tokens, each character of such a script, with its marks, is a token of its own: an answer then
matches wherever it stands in a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import regex

from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores
from m3eval.retrievers.run import Run

Denominator = Literal["all", "run"]
Matching = Literal["tokens", "characters"]  # what a script without spaces is cut into

# Runs of letters, digits and marks, or single other characters that are neither white space nor
# control characters.
TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
ASCII_TOKEN = re.compile(r"[0-9A-Za-z]+|[!-~]")  # the same for text that is ASCII, twice as fast
# Letters of scripts that are written without spaces between words.
UNSPACED = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}"
    r"\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Javanese}\p{Balinese}]&&\p{L}]"
)
UNSPACED_LETTER = regex.compile(UNSPACED, regex.V1)
# One such letter with its marks, or a token as above without them; digits stay together.
CHARACTER = regex.compile(
    rf"{UNSPACED}\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--{UNSPACED}]+|[^\p{{Z}}\p{{C}}]", regex.V1
)
EDGE = "\0"  # a control character, so part of no token


def has_unspaced(texts: Iterable[str]) -> bool:
    """Whether any of the texts has a letter of a script that is written without spaces."""
    return any(not text.isascii() and UNSPACED_LETTER.search(text) for text in texts)


def tokenize(text: str, matching: Matching = "tokens") -> list[str]:
    """The tokens of a text in their own case: DPR's, unless characters are asked for."""
    if text.isascii():
        return ASCII_TOKEN.findall(text)
    expression = TOKEN if matching == "tokens" else CHARACTER
    return expression.findall(unicodedata.normalize("NFD", text))


def normal_form(text: str, matching: Matching = "tokens") -> str:
    """The tokens of a text between edges, so that `in` finds whole tokens side by side."""
    tokens = tokenize(text, matching)
    # To lower them joined is to lower each alone: an edge ends a word also for sigma, whose lower
    # case depends on that.
    return EDGE + EDGE.join(tokens).lower() + EDGE if tokens else EDGE


def fold(text: str) -> str:
    """A text in which every token of it, folded alone, is found again.

    Lower-casing a whole text could break that for sigma alone, whose lower case depends on what
    stands around it.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFD", text).lower().replace("ς", "σ")


def clues(answer: str, matching: Matching = "tokens") -> list[str]:
    """The tokens of an answer, folded, the most telling first.

    A document that lacks one need not be cut into tokens.
    """
    return sorted({fold(token) for token in tokenize(answer, matching)}, key=len, reverse=True)


class Answer(NamedTuple):
    """An answer string, prepared to be looked for in many documents."""

    clues: list[str]
    form: str  # see `normal_form`


class SearchedText:
    """A text in which answers are looked for; it is cut into tokens when a likely answer comes."""

    def __init__(self, text: str, matching: Matching) -> None:
        self.text = text
        self.matching: Matching = matching
        self.folded = fold(text)

    @cached_property
    def form(self) -> str:
        """See `normal_form`."""
        return normal_form(self.text, self.matching)

    def holds(self, answers: Iterable[Answer]) -> bool:
        """Whether any of the answers stands in the text."""
        return any(
            all(map(self.folded.__contains__, answer.clues)) and answer.form in self.form
            for answer in answers
        )


def by_answers(
    runs: Sequence[Run],
    answers: Mapping[str, Sequence[str]],
    documents: Iterable[tuple[str, str]],
    metrics: Sequence[Metric],
    denominator: Denominator = "all",
    matching: Matching = "tokens",
) -> list[Scores]:
    """For each run: 1 for each question with an answer in the first k documents, else 0.

    A question that a run lacks scores 0.

    Args:
        runs: r runs; the documents are read once for all of them.
        answers: qid -> strings of which any one suffices; one without a single token matches
            everything, as in the reference.
        documents: docid and text of the corpus, as they were encoded; only what is looked at stays
            in memory.
        metrics: R@k only.
        denominator: run leaves out the questions for which a run has no document, as
            FlagEmbedding's script does.
        matching: tokens are DPR's, characters find answers in scripts without spaces too.
    """
    cutoffs = {str(metric): metric.cutoff for metric in metrics if metric.cutoff is not None}
    deepest = max(cutoffs.values())
    # docid -> qid, number of the run and rank, wherever it stands in a list
    places: dict[str, list[tuple[str, int, int]]] = {}
    for number, run in enumerate(runs):
        for qid in answers:
            docids = run[qid].docids[:deepest] if qid in run else []
            for rank, docid in enumerate(docids, start=1):
                places.setdefault(docid, []).append((qid, number, rank))
    prepared = {
        qid: [Answer(clues(answer, matching), normal_form(answer, matching)) for answer in strings]
        for qid, strings in answers.items()
    }
    first_hit = [dict.fromkeys(answers, deepest + 1) for _ in runs]  # of each run: qid -> rank
    for docid, text in documents:
        if docid not in places:
            continue
        document = SearchedText(text, matching)
        holds: dict[str, bool] = {}  # by the qid of the answers
        for qid, number, rank in places[docid]:
            if rank < first_hit[number][qid]:
                if qid not in holds:
                    holds[qid] = document.holds(prepared[qid])
                if holds[qid]:
                    first_hit[number][qid] = rank
    if denominator == "run":
        first_hit = [
            {qid: rank for qid, rank in ranks.items() if qid in run and run[qid].docids}
            for run, ranks in zip(runs, first_hit, strict=True)
        ]
    return [
        {
            name: {qid: float(rank <= cutoff) for qid, rank in ranks.items()}
            for name, cutoff in cutoffs.items()
        }
        for ranks in first_hit
    ]
