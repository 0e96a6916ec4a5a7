"""Contenders that run in processes of their own and are timed in turn.

What disturbs the machine for a while thus meets all of them alike.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Literal

from bench.measure import own_peak, ratio, say, spread

# Does the work. Called with True it only warms up, on a little of the work. Further arguments, by
# keyword, choose among kinds of work for which one preparation does.
Run = Callable[..., Any]


class Contender:
    """A process that prepares its work once and does it as often as it is told."""

    def __init__(self, name: str, make: Callable[..., Run], *arguments: Any) -> None:
        """Starts the process and waits until it has called `make(*arguments)`.

        Args:
            name: what to call the contender in reports.
            make: prepares the work and returns what does it; must be importable.
            arguments: of `make`; must be picklable.
        """
        self.name = name
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.peak_gib = 0.0
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, make, arguments), daemon=True)
        self.process.start()
        far_end.close()
        self._receive()

    def run(self, warm: bool = False, **choice: Any) -> Any:
        """Does the work once, notes how long it took, and returns its result."""
        self.pipe.send((warm, choice))
        seconds, cpu, self.peak_gib, result = self._receive()
        if not warm:
            self.seconds.append(seconds)
            self.cpu.append(cpu)
            say(f"  {self.name}: {seconds:.3f} s ({cpu:.1f} s of CPU)")
        return result

    def forget(self) -> None:
        """Starts its notes anew, for another kind of work."""
        self.seconds, self.cpu = [], []

    def end(self) -> None:
        """Ends the process."""
        self.pipe.close()
        self.process.join(10)
        self.process.terminate()

    def summary(self) -> dict[str, Any]:
        """Wall-clock and CPU seconds (median, min, max) and peak memory in GiB."""
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


def alternate(contenders: Sequence[Contender], rounds: int, **choice: Any) -> dict[str, Any]:
    """Warms all contenders up, then runs them `in_rounds`."""
    for contender in contenders:
        contender.run(warm=True, **choice)
    return in_rounds(contenders, rounds, **choice)


def in_rounds(contenders: Sequence[Contender], rounds: int, **choice: Any) -> dict[str, Any]:
    """Runs contenders in turn, `rounds` times.

    Every other round goes backwards, so that none is always first.

    Returns:
        The last result of each contender, by name.
    """
    results = {}
    for i in range(rounds):
        for contender in contenders if i % 2 else contenders[::-1]:
            results[contender.name] = contender.run(**choice)
    return results


def best_of(
    choices: dict[int, tuple], clock: Literal["cpu", "seconds"] = "cpu", **warm_up: Any
) -> int:
    """The batch size that takes least.

    Args:
        choices: what `Contender` takes, by batch size.
        clock: CPU seconds, on which other processes have less effect, or wall-clock seconds, where
            the work is a GPU's.
        warm_up: what chooses the work that does not count.
    """
    taken = {}
    for size, what in choices.items():
        contender = Contender(f"batch size {size}", *what)
        contender.run(warm=True, **warm_up)
        contender.run()
        taken[size] = getattr(contender, clock)[0]
        contender.end()
    return min(taken, key=taken.__getitem__)


def times(slow: Contender, fast: Contender) -> dict[str, float]:
    """How many times as long `slow` took as `fast`, round by round (median, min, max)."""
    return ratio(slow.seconds, fast.seconds)


def _serve(pipe: Connection, make: Callable[..., Run], arguments: Sequence[Any]) -> None:
    try:
        run = make(*arguments)
        pipe.send(("ready", None))
        while True:
            try:
                warm, choice = pipe.recv()
            except EOFError:
                return
            started, cpu = time.perf_counter(), time.process_time()
            result = run(warm, **choice)
            took = time.perf_counter() - started, time.process_time() - cpu
            pipe.send(("done", (*took, own_peak(), result)))
    except Exception:
        pipe.send(("error", traceback.format_exc()))
