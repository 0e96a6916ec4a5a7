"""Answer recall (MKQA's metric): m3eval against the definition, taken literally.

    python -m bench.answers                  6,619 questions x 100 documents (3 minutes on 1 core)
    python -m bench.answers --questions 500  a few seconds; writes only with --output

The literal form cuts the answer and the document into tokens anew for every pair of them. m3eval
reads a document once for all lists in which it stands, so what it saves depends on their number.
Hence there are two corpora: in the first a document stands in 25 lists on average, and the goal
(20 times as fast) applies to it; the second is ten times as large.

The texts are made up: words of skewed frequency, some with an accent or punctuation. One question
in four has no answer in any document. Both forms score the same run, m3eval three times and the
literal form once, and must agree on every question.

`literal_seconds` and `ours_seconds` are CPU seconds on one core; `times_faster` is the first by the
median of the second. Writes results/bench/answers.json.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import regex

from bench.machine import machine
from m3eval.files import write_json
from m3eval.metrics.answers import by_answers
from m3eval.metrics.names import parse
from m3eval.retrievers.run import Ranking, Run

ROOT = Path(__file__).resolve().parent.parent
AT_LEAST = 20  # times as fast as the literal form
QUESTIONS = 6619  # MKQA's
DEPTH = 100  # documents in a list
CUTOFFS = (20, 100)
PATTERN = regex.compile(
    r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
)


def tokens(text: str) -> list[str]:
    """The tokens of a text as DPR defines them, in lower case."""
    return [match.group().lower() for match in PATTERN.finditer(unicodedata.normalize("NFD", text))]


def has_answer(answers: Sequence[str], text: str) -> bool:
    """Whether the tokens of one of the answers stand side by side in the text."""
    words = tokens(text)
    for answer in answers:
        sequence = tokens(answer)
        for i in range(len(words) - len(sequence) + 1):
            if words[i : i + len(sequence)] == sequence:
                return True
    return False


def literal(
    run: Run, answers: Mapping[str, Sequence[str]], texts: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Answer recall by its definition: metric -> qid -> 0 or 1."""
    hits = {
        qid: [has_answer(strings, texts[docid]) for docid in run[qid].docids]
        for qid, strings in answers.items()
    }
    return {f"R@{k}": {qid: float(any(hit[:k])) for qid, hit in hits.items()} for k in CUTOFFS}


def made_up(
    questions: int, documents: int
) -> tuple[Run, dict[str, list[str]], list[tuple[str, str]]]:
    """A run, answers by qid, and (docid, text) of documents of 100 words, the length of NQ's."""
    rng = np.random.default_rng(0)
    letters = random.Random(0)
    vocabulary = [
        "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 9)))
        for _ in range(20_000)
    ]
    vocabulary = [
        word + letters.choices(["", ",", ".", "-x", "é"], [80, 8, 8, 3, 1])[0]
        for word in vocabulary
    ]
    share = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = rng.choice(len(vocabulary), size=(documents, 100), p=share / share.sum())
    corpus = [(f"d{i}", " ".join(vocabulary[j] for j in row)) for i, row in enumerate(drawn)]
    run, answers = {}, {}
    for q in range(questions):
        rows = rng.choice(len(corpus), DEPTH, replace=False)
        scores = np.arange(DEPTH, 0, -1).astype(np.float32)
        run[f"q{q}"] = Ranking([f"d{i}" for i in rows], scores)
        words = corpus[rows[rng.integers(DEPTH)]][1].split()
        start = rng.integers(95)
        answer = " ".join(words[start : start + rng.integers(2, 5)])
        answers[f"q{q}"] = ["no such answer 0"] if q % 4 == 0 else ["no such answer 1", answer]
    return run, answers, corpus


def measure(questions: int, lists: float) -> dict[str, Any]:
    """Times both forms on documents that stand in so many lists on average.

    Raises:
        SystemExit: the forms disagree on a question.
    """
    run, answers, corpus = made_up(questions, round(questions * DEPTH / lists))
    metrics = [parse(f"R@{k}") for k in CUTOFFS]
    ours = []
    for _ in range(3):
        started = time.process_time()
        (scores,) = by_answers([run], answers, corpus, metrics)
        ours.append(time.process_time() - started)
    started = time.process_time()
    reference = literal(run, answers, dict(corpus))
    seconds = time.process_time() - started
    if scores != reference:
        raise SystemExit("the two forms disagree")
    return {
        "lists_per_document": lists,
        "documents": len(corpus),
        "questions_without_hit": sum(value == 0 for value in scores[f"R@{DEPTH}"].values()),
        "recall_x100": {
            name: round(100 * float(np.mean(list(values.values()))), 2)
            for name, values in scores.items()
        },
        "literal_seconds": round(seconds, 2),
        "ours_seconds": [round(value, 3) for value in ours],
        "times_faster": round(seconds / float(np.median(ours)), 1),
    }


def main() -> None:
    """Measures, compares and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    n = options.questions
    measured = [measure(n, lists) for lists in (25, 2.5)]
    for case in measured:
        sys.stdout.write(
            f"{n:,} questions x {DEPTH} of {case['documents']:,} documents: "
            f"literal {case['literal_seconds']:.1f} s, ours {np.median(case['ours_seconds']):.2f} "
            f"s, {case['times_faster']} times as fast\n"
        )
    report = {
        "questions": n,
        "documents_per_question": DEPTH,
        "must_be_at_least": AT_LEAST,
        "measured": measured,
    }
    whole = n == QUESTIONS
    output = options.output or (ROOT / "results" / "bench" / "answers.json" if whole else None)
    if output:
        write_json(output, report | {"machine": machine()})
    if whole and measured[0]["times_faster"] < AT_LEAST:
        raise SystemExit(f"below the goal: {measured[0]['times_faster']} < {AT_LEAST}")


if __name__ == "__main__":
    main()
