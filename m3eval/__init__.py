"""m3eval: does a multilingual retriever do what its paper says?

It reads in the order in which data flows: `benchmarks` (what is asked), `encoders` (text ->
vectors), `stores` (vectors on disk), `retrievers` (vectors -> ranked lists), `metrics` (lists ->
numbers) and `reports` (numbers -> people). `stages` puts them together, `commands` are what
`m3eval` is told to do, `api` is the same for Python:

    from m3eval import evaluate, compare, load_run
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"
FROM_PYTHON = ("UserError", "compare", "evaluate", "load_run")  # typed in __init__.pyi

# OpenMP threads that wait must sleep, not spin: with a second busy process on the machine, spinning
# made two threads slower than one. The variable is read when the OpenMP runtime is loaded, hence
# here, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """The names of `m3eval.api`, imported when they are first asked for: a command needs none."""
    if name in FROM_PYTHON:
        return getattr(importlib.import_module("m3eval.api"), name)
    raise AttributeError(f"module m3eval has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *FROM_PYTHON])
