"""Contenders in processes of their own, timed in turn: what disturbs the machine disturbs them alike."""

from __future__ import annotations

import multiprocessing
import resource
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from bench.measure import ratio, say, spread

Run = Callable[[bool], Any]  # told whether it is only to warm up, on a little of the work


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

    def run(self, warm: bool = False) -> Any:
        """Does it once, keeps the time, and gives what it returned."""
        self.pipe.send(warm)
        seconds, cpu, self.peak_gib, result = self._receive()
        if not warm:
            self.seconds.append(seconds)
            self.cpu.append(cpu)
            say(f"  {self.name}: {seconds:.3f} s ({cpu:.1f} s of CPU)")
        return result

    def end(self) -> None:
        """Ends the process."""
        self.pipe.close()
        self.process.join(10)
        self.process.terminate()

    def summary(self) -> dict[str, Any]:
        """Times in seconds and peak memory in GiB."""
        return {
            "seconds": spread(self.seconds),
            "cpu_seconds": spread(self.cpu),
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
    """All warm up, then each runs in turn, `rounds` times. Gives what each returned last."""
    for contender in contenders:
        contender.run(warm=True)
    found = {}
    for i in range(rounds):
        found |= {
            contender.name: contender.run()
            for contender in (contenders if i % 2 else contenders[::-1])
        }
    return found


def times(slow: Contender, fast: Contender) -> dict[str, float]:
    """How many times as long `slow` took, round by round: median, smallest and largest."""
    return ratio(slow.seconds, fast.seconds)


def _serve(pipe: Connection, make: Callable[..., Run], arguments: Sequence[Any]) -> None:
    try:
        run = make(*arguments)
        pipe.send(("ready", None))
        while True:
            try:
                warm = pipe.recv()
            except EOFError:
                return
            started, cpu = time.perf_counter(), time.process_time()
            result = run(warm)
            took = time.perf_counter() - started, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            pipe.send(("done", (*took, peak, result)))
    except Exception:
        pipe.send(("error", traceback.format_exc()))
