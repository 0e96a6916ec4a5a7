"""The exceptions that speak to the person at the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any


class UserError(Exception):
    """Something the user can mend: the message names the value, the limit and the remedy.

    Commands print it without a traceback and end with status 2. Every other exception is a defect
    of m3eval.
    """


class Missing(UserError):
    """Something that another command makes is not there.

    Args:
        kind: store or run.
        message: what is missing, and the command that makes it.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SeveralErrors(UserError):
    """Errors that a user mends in one go. Of things of a kind that are missing, one is named."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        self.errors = errors
        messages: dict[str, None] = {}
        for error in errors:
            message = str(error)
            if isinstance(error, Missing):
                alike = {str(e) for e in errors if isinstance(e, Missing) and e.kind == error.kind}
                message = min(alike)
                if len(alike) > 1:
                    message += f" {len(alike) - 1} more {error.kind}s are missing, too."
            messages[message] = None
        super().__init__("\n\n".join(messages))


def together(checks: Iterable[Callable[[], Any]]) -> list[Any]:
    """Runs every check and returns their results in order.

    Raises:
        UserError: one for all checks that failed, so that a user mends everything in one go.
    """
    results: list[Any] = []
    errors: list[UserError] = []
    for check in checks:
        try:
            results.append(check())
        except SeveralErrors as error:
            errors += error.errors
        except UserError as error:
            errors.append(error)
    if errors:
        raise SeveralErrors(errors)
    return results
