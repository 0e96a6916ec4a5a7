"""The one exception that speaks to the person at the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class UserError(Exception):
    """Something the user can mend: the message names the value, the limit and the remedy.

    Commands print it without a traceback and end with status 2. Every other exception is a defect
    of m3eval.
    """


def together(checks: Iterable[Callable[[], Any]]) -> list[Any]:
    """Runs every check and returns their results in order.

    Raises:
        UserError: one for all checks that failed, so that a user mends everything in one go.
    """
    results, errors = [], []
    for check in checks:
        try:
            results.append(check())
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError("\n\n".join(dict.fromkeys(errors)))
    return results
