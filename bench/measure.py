"""How figures are taken: contenders are called in turn, and a figure is a median with its spread.

What disturbs the machine for a while thus meets all contenders alike.
"""

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


def in_turn(
    contenders: Mapping[str, Callable[[], Any]],
    repetitions: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Calls every contender once, then all of them in turn, `repetitions` times.

    Args:
        contenders: what does the work, by name.
        repetitions: calls of each that count.
        clock: of wall-clock seconds, or `time.process_time`, which other processes disturb less.

    Returns:
        Seconds of every call but the first, by contender.
    """
    for contender in contenders.values():
        contender()
    seconds: Seconds = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, contender in contenders.items():
            started = clock()
            contender()
            seconds[name].append(clock() - started)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """The median, the smallest and the largest value, with four digits."""
    return {
        "median": _round(float(np.median(values))),
        "min": _round(min(values)),
        "max": _round(max(values)),
    }


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """How many times as long `slower` took as `faster`, over calls made one after the other."""
    return spread([slow / fast for slow, fast in zip(slower, faster, strict=True)])


def peak(arguments: list[str]) -> dict[str, Any]:
    """Runs Python in a process of its own and measures its memory.

    Call it while this process is small: where a child begins as an image of its parent, the system
    counts the parent's memory too.

    Returns:
        The JSON object that the process printed last, and `peak_gib`, its peak resident size.
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


def own_peak() -> float:
    """The most memory in GiB that this process has held since its program began (Linux).

    `getrusage` would also count what the process held that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return round(int(kib) / 2**20, 3)


def resident() -> float:
    """The memory in GiB that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30, 3)


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rounded(value: Any) -> Any:
    """The same with four digits of every float, in mappings too."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    return _round(value) if isinstance(value, float) else value


def _round(value: float) -> float:
    return float(f"{value:.4g}")
