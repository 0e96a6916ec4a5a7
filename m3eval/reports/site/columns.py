"""Records as columns, which gzip makes a quarter as large.

Like stands beside like, and a number takes a few digits:

    [{"at": 3, "score": 0.5}, {"at": 7, "score": 0.25}]
    {"records": 2, "fields": {"at": [3, 7], "score": {"digits": 4, "ints": [5000, 2500]}}}

`records` and `unpack` in static/site.js turn them back.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

# How half a pair of UTF-16, which UTF-8 does not have, is written into JSON: as its escape there.
AS_JSON = "backslashreplace"
DIGITS = 4  # significant digits that the largest number of a column has at least


def columns(values: Sequence[Any]) -> Any:
    """One column for values of one kind.

    Strings, integers and None stay as they are, floats are rounded, lists and records are taken
    apart.

    Args:
        values: values that JSON has; records have the same keys.

    Returns:
        A list; for floats `{"digits": d, "ints": value x 10^d}`; for lists `{"counts": lengths,
        "items": column}`; for records `{"records": n, "fields": {key: column}}`.
    """
    kinds = {type(value) for value in values}
    if kinds == {dict}:
        return {
            "records": len(values),
            "fields": {key: columns([value[key] for value in values]) for key in values[0]},
        }
    if kinds == {list}:
        return {
            "counts": [len(value) for value in values],
            "items": columns([item for value in values for item in value]),
        }
    if kinds in ({float}, {float, int}):
        largest = max(map(abs, values))
        digits = max(0, DIGITS - round(math.log10(largest))) if largest else 0
        return {"digits": digits, "ints": [round(value * 10**digits) for value in values]}
    return list(values)


def packed(values: Sequence[Any]) -> str:
    """Columns of values as gzip in base64.

    A page that was opened from disk may read scripts only, and a script may hold such a string.
    """
    text = json.dumps(columns(values), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = text.encode("utf-8", errors=AS_JSON)
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()
