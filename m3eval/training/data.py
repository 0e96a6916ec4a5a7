"""Training data: questions with documents that answer them and documents that do not.

Files hold a JSON object a line, in FlagEmbedding's form, {query, pos, neg} and perhaps {pos_scores,
neg_scores} of a reranker and {neg_q}, a question that each negative does answer; or as a triple,
{anchor, positive, negative}.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3eval.benchmarks.texts import Role
from m3eval.errors import UserError, together
from m3eval.oserrors import pass_on


@dataclass(frozen=True)
class Example:
    """A question, and what belongs to it."""

    source: str  # the file it stands in
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...] | None = None  # raw scores of a reranker
    negative_scores: tuple[float, ...] | None = None
    negative_queries: tuple[str, ...] | None = None  # for each negative, a question it answers


@dataclass(frozen=True)
class Drawn:
    """What one step sees of an example."""

    query: str
    documents: tuple[str, ...]  # [group], a positive first
    scores: tuple[float, ...] | None  # [group]
    negative_queries: tuple[str, ...] | None  # [group - 1]


@dataclass(frozen=True)
class Examples:
    """All examples, and what is drawn of each in each epoch.

    A draw depends on the seed, the epoch and the example alone, so that training that was
    interrupted goes on as if it had not been. An item is named (epoch, number).
    """

    all: Sequence[Example]
    group: int  # documents of a question in a step: a positive, and negatives
    seed: int

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, item: tuple[int, int]) -> Drawn:
        epoch, number = item
        example, rng = self.all[number], random.Random(f"{self.seed}/{epoch}/{number}")
        positive = rng.randrange(len(example.positives))
        # Fewer negatives than asked for are repeated, as in FlagEmbedding.
        n = self.group - 1
        times = -(-n // max(1, len(example.negatives)))
        negatives = rng.sample([*range(len(example.negatives))] * times, n)
        scores = None
        if example.positive_scores is not None and example.negative_scores is not None:
            scores = (
                example.positive_scores[positive],
                *(example.negative_scores[i] for i in negatives),
            )
        asked = example.negative_queries
        return Drawn(
            example.query,
            (example.positives[positive], *(example.negatives[i] for i in negatives)),
            scores,
            None if asked is None else tuple(asked[i] for i in negatives),
        )


def read(files: Sequence[str]) -> list[Example]:
    """The examples of files, and of the *.jsonl in folders.

    Raises:
        UserError: one for all files that are missing or malformed.
    """
    paths = files_of(files)
    return [
        example
        for of_file in together([lambda p=p: _file(p) for p in paths])
        for example in of_file
    ]


def files_of(names: Sequence[str]) -> list[Path]:
    """The files, in the place of folders the *.jsonl in them.

    Raises:
        UserError: there is none in a folder.
    """
    return [path for name in names for path in _paths(name)]


def check(
    examples: Sequence[Example], group: int, scores: bool = False, asked: bool = False
) -> None:
    """Refuses examples of which a group cannot be drawn.

    Args:
        examples: the training data.
        group: documents of a question in a step.
        scores: whether the objective learns from a reranker's.
        asked: whether it needs a question that each negative answers.

    Raises:
        UserError: there are none, or some lack negatives, scores or questions that are asked for.
    """
    if not examples:
        raise UserError("The training data has no example.")
    if group < 1:
        raise UserError(f"data.group={group}: a question needs its positive, so at least 1.")
    if group > 1 and (lacking := [each for each in examples if not each.negatives]):
        raise UserError(
            f"data.group={group} asks for negatives, and {len(lacking):,} of {len(examples):,} "
            f"examples have none, for example {lacking[0].query[:60]!r} of {lacking[0].source}: "
            "find some with m3eval mine, or set data.group=1."
        )
    unscored = [each for each in examples if None in (each.positive_scores, each.negative_scores)]
    if scores and unscored:
        raise UserError(
            f"The objective learns from a reranker's scores, and {len(unscored):,} of "
            f"{len(examples):,} examples have none (pos_scores, neg_scores), for example "
            f"{unscored[0].query[:60]!r} of {unscored[0].source}: write them with m3eval mine "
            "judged_by=cross_encoder, or set objective.loss.teacher=none."
        )
    if not asked:
        return
    if group == 1:
        raise UserError("data.group=1: the penalty is about negatives, so at least 2.")
    if lacking := [each for each in examples if not each.negative_queries]:
        raise UserError(
            f"The penalty compares negatives with questions that they answer (neg_q), and "
            f"{len(lacking):,} of {len(examples):,} examples have none, for example "
            f"{lacking[0].query[:60]!r} of {lacking[0].source}: add them, or set "
            "objective.loss.penalty=0."
        )


def _paths(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if not path.is_dir():
        return [path]
    if not (found := sorted(path.glob("*.jsonl"))):
        raise UserError(f"data.files: there is no *.jsonl in {path}.")
    return found


def _file(path: Path) -> list[Example]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        pass_on(error)
        raise UserError(f"data.files: {path} cannot be read: {error}") from error
    return [_example(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]


def _example(line: str, path: Path, number: int) -> Example:
    where = f"{path}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} must be an object with query, pos and neg.")
    if "anchor" in row:
        row = {
            "query": row["anchor"],
            "pos": [row.get("positive")],
            "neg": [row["negative"]] if "negative" in row else [],
        }
    positives, negatives = _texts(row, "pos", where), _texts(row, "neg", where)
    if not isinstance(row.get("query"), str) or not positives:
        raise UserError(f"{where}: 'query' must be a text, and 'pos' hold at least one.")
    numbers = {
        key: _numbers(row.get(key), len(texts), f"{where}: {key}")
        for key, texts in (("pos_scores", positives), ("neg_scores", negatives))
    }
    asked = _texts(row, "neg_q", where) if row.get("neg_q") is not None else None
    if asked is not None and len(asked) != len(negatives):
        raise UserError(f"{where}: neg_q has {len(asked)} texts for {len(negatives)} negatives.")
    return Example(
        path.stem, row["query"], positives, negatives, *numbers.values(), negative_queries=asked
    )


def _texts(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = row.get(key) or []
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{where}: '{key}' must be a list of texts.")
    return tuple(values)


def _numbers(values: Any, count: int, where: str) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != count:
        raise UserError(f"{where} must be a list with a number for each of {count} texts.")
    if not all(isinstance(value, int | float) for value in values):
        raise UserError(f"{where} must be numbers.")
    return tuple(map(float, values))


def texts_of(examples: Iterable[Example]) -> Iterator[tuple[Role, str]]:
    """(role, text) of every text that can be drawn; texts may repeat."""
    for example in examples:
        for text in (example.query, *(example.negative_queries or ())):
            yield "query", text
        for text in (*example.positives, *example.negatives):
            yield "document", text
