"""How figures are taken: forms in turn, so that a disturbance meets all of them; medians with their spread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
Seconds = dict[str, list[float]]


def in_turn(forms: Mapping[str, Callable[[], Any]], repetitions: int) -> Seconds:
    """Wall-clock seconds of every form, called in turn; a first call of each is not counted."""
    for form in forms.values():
        form()
    seconds: Seconds = {name: [] for name in forms}
    for _ in range(repetitions):
        for name, form in forms.items():
            started = time.perf_counter()
            form()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": _round(float(np.median(values))),
        "min": _round(min(values)),
        "max": _round(max(values)),
    }


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """How many times as long one took as the other: over the pairs measured next to each other."""
    return spread([one / two for one, two in zip(slower, faster, strict=True)])


def peak(arguments: list[str]) -> dict[str, Any]:
    """Runs a Python process; what it printed last, as JSON, and its peak resident size (GiB) as the system counted it.

    To be called while this process is small: where a child begins as its parent's image, the system counts that too.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed with status {status}")
    return json.loads(printed.splitlines()[-1]) | {"peak_gib": round(usage.ru_maxrss / 2**20, 3)}


def resident() -> float:
    """GiB that this process holds now (Linux)."""
    return round(
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30, 3
    )


def say(text: str) -> None:
    """Prints at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _round(value: float) -> float:
    return float(f"{value:.4g}")
