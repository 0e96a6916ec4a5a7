"""Questions that are evaluated must not be trained on, by text, whatever their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from m3eval.errors import UserError
from m3eval.training.data import Example


def alike(text: str) -> str:
    """What two texts have in common that differ in blanks and case only."""
    return " ".join(text.split()).casefold()


def check(examples: Sequence[Example], questions: Iterable[str]) -> None:
    """Refuses examples that ask an evaluated question.

    Args:
        examples: the training data.
        questions: those of the evaluated split.

    Raises:
        UserError: counts them, and names some.
    """
    evaluated = {alike(question) for question in questions}
    leaked = [each for each in examples if alike(each.query) in evaluated]
    if leaked:
        shown = "; ".join(f"{each.query[:60]!r} of {each.source}" for each in leaked[:3])
        raise UserError(
            f"{len(leaked):,} of {len(examples):,} training examples ask a question that "
            f"trainer.evaluation is to judge by: {shown}. Take them out of the data, or evaluate "
            "another split."
        )
