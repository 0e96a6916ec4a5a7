"""Contenders in processes of their own, timed in turn: what disturbs the machine disturbs them alike."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

Run = Callable[[], Any]


class Contender:
    """A process that prepares something once and then does it as often as it is told."""

    def __init__(self, name: str, make: Callable[..., Run], *arguments: Any) -> None:
        """Starts the process and waits until `make(*arguments)`, which must be importable, has given what to run."""
        self.name = name
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.peak_gib = 0.0
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self.process.start()
        theirs.close()
        self._receive()

    def run(self) -> Any:
        """Does it once, keeps the time, and gives what it returned."""
        self.pipe.send("run")
        seconds, cpu, peak, result = self._receive()
        self.seconds.append(seconds)
        self.cpu.append(cpu)
        self.peak_gib = peak
        return result

    def end(self) -> None:
        """Ends the process."""
        self.pipe.close()
        self.process.join(10)
        self.process.terminate()

    def summary(self) -> dict[str, Any]:
        """Times in seconds and peak memory in GiB."""
        return {
            "seconds": [round(value, 4) for value in self.seconds],
            "cpu_seconds": [round(value, 4) for value in self.cpu],
            "median_seconds": round(statistics.median(self.seconds), 4),
            "peak_gib": round(self.peak_gib, 2),
        }

    def _receive(self) -> Any:
        try:
            kind, content = self.pipe.recv()
        except EOFError:
            raise SystemExit(f"{self.name}: its process ended") from None
        if kind == "error":
            raise SystemExit(f"{self.name}:\n{content}")
        return content


def alternate(contenders: Sequence[Contender], rounds: int) -> dict[str, Any]:
    """Each runs once for warming up, then all in turn, `rounds` times. Gives what each returned last."""
    last = {}
    for i in range(rounds + 1):
        for contender in contenders if i % 2 else contenders[::-1]:
            last[contender.name] = contender.run()
            sys.stdout.write(f"  {contender.name}: {contender.seconds[-1]:.3f} s{'' if i else ' (warming up)'}\n")
            sys.stdout.flush()
    for contender in contenders:
        del contender.seconds[0], contender.cpu[0]
    return last


def ratio(slow: Contender, fast: Contender) -> dict[str, float]:
    """How many times as long `slow` took, round by round: median, least and most."""
    found = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return {"median": round(statistics.median(found), 2), "least": round(min(found), 2), "most": round(max(found), 2)}


def _serve(pipe: Connection, make: Callable[..., Run], arguments: Sequence[Any]) -> None:
    try:
        run = make(*arguments)
        pipe.send(("ready", None))
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            started, cpu = time.perf_counter(), time.process_time()
            result = run()
            took = time.perf_counter() - started, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            pipe.send(("done", (*took, peak, result)))
    except Exception:
        pipe.send(("error", traceback.format_exc()))
