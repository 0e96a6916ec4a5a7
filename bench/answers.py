"""Answer recall: ours against the literal form, which tokenises answer and document anew for every pair.

    python -m bench.answers                  6,619 questions x 100 documents (about 3 minutes on 1 core)
    python -m bench.answers --questions 500

The texts are made up: words with a skewed frequency, some with an accent or punctuation; one question in four has no answer
anywhere. What ours saves depends on how many lists a document stands in, so there are two corpora: one in which each stands in
25 lists, which must show the ratio asked for, and one ten times as large. Both forms do the whole work on the same run, ours
three times and the literal one once, and must agree on every question. Seconds are of CPU. Writes results/bench/answers.json.
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

from m3eval.files import write_json
from m3eval.metrics.answers import by_answers
from m3eval.metrics.names import parse
from m3eval.provenance import versions
from m3eval.retrievers.run import Ranking, Run
from m3eval.runtime import settle

ROOT = Path(__file__).resolve().parent.parent
AT_LEAST = 20  # times faster than the literal form
DEPTH, CUTOFFS = 100, (20, 100)
PATTERN = regex.compile(
    r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
)


def tokens(text: str) -> list[str]:
    """DPR's tokens of a text, lower-cased."""
    return [match.group().lower() for match in PATTERN.finditer(unicodedata.normalize("NFD", text))]


def has_answer(answers: Sequence[str], text: str) -> bool:
    """Whether an answer's tokens stand side by side in the text, compared position by position."""
    words = tokens(text)
    for answer in answers:
        wanted = tokens(answer)
        for i in range(len(words) - len(wanted) + 1):
            if words[i : i + len(wanted)] == wanted:
                return True
    return False


def literal(
    run: Run, answers: Mapping[str, Sequence[str]], texts: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """The metric as its definition reads: every pair of question and document is compared."""
    hits = {
        qid: [has_answer(strings, texts[docid]) for docid in run[qid].docids]
        for qid, strings in answers.items()
    }
    return {f"R@{k}": {qid: float(any(found[:k])) for qid, found in hits.items()} for k in CUTOFFS}


def made_up(
    questions: int, documents: int
) -> tuple[Run, dict[str, list[str]], list[tuple[str, str]]]:
    """A run, answers and a corpus of documents with 100 words, as long as NQ's."""
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
        docs = rng.choice(len(corpus), DEPTH, replace=False)
        scores = np.arange(DEPTH, 0, -1).astype(np.float32)
        run[f"q{q}"] = Ranking([f"d{i}" for i in docs], scores)
        words = corpus[docs[rng.integers(DEPTH)]][1].split()
        start = rng.integers(95)
        there = " ".join(words[start : start + rng.integers(2, 5)])
        answers[f"q{q}"] = ["no such answer 0"] if q % 4 == 0 else ["no such answer 1", there]
    return run, answers, corpus


def measure(questions: int, lists: float) -> dict[str, Any]:
    """Times both forms where each document stands in so many lists on average.

    Raises:
        SystemExit: they disagree.
    """
    run, answers, corpus = made_up(questions, round(questions * DEPTH / lists))
    metrics = [parse(f"R@{k}") for k in CUTOFFS]
    ours = []
    for _ in range(3):
        started = time.process_time()
        (found,) = by_answers([run], answers, corpus, metrics)
        ours.append(time.process_time() - started)
    started = time.process_time()
    reference = literal(run, answers, dict(corpus))
    seconds = time.process_time() - started
    if found != reference:
        raise SystemExit("the two forms disagree")
    return {
        "lists_per_document": lists,
        "documents": len(corpus),
        "questions_without_hit": sum(value == 0 for value in found[f"R@{DEPTH}"].values()),
        "recall_x100": {
            name: round(100 * float(np.mean(list(values.values()))), 2)
            for name, values in found.items()
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
    parser.add_argument("--questions", type=int, default=6619)
    n = parser.parse_args().questions
    measured = [measure(n, lists) for lists in (25, 2.5)]
    for case in measured:
        sys.stdout.write(
            f"{n:,} questions x {DEPTH} of {case['documents']:,} documents: literal {case['literal_seconds']:.1f} s, "
            f"ours {np.median(case['ours_seconds']):.2f} s, {case['times_faster']} times faster\n"
        )
    report = {
        "questions": n,
        "documents_per_question": DEPTH,
        "must_be_at_least": AT_LEAST,
        "measured": measured,
    }
    runtime = settle("auto", "auto", 1, "auto", 20_000, 50_000)
    write_json(ROOT / "results" / "bench" / "answers.json", report | {"machine": versions(runtime)})
    if measured[0]["times_faster"] < AT_LEAST:
        raise SystemExit(f"slower than it must be: {measured[0]['times_faster']} < {AT_LEAST}")


if __name__ == "__main__":
    main()
