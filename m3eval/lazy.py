"""Modules that take long to import, imported when they are first used.

`from m3eval.lazy import torch` costs nothing; `torch.mm(...)` imports it. So a typo, `--help` or a
stage that finds everything finished does not pay for what it does not use. Code that subclasses
one of their classes imports the real module, and is itself imported only where texts are encoded.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Lazy(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import faiss as faiss
    import numpy as numpy
    import pandas as pandas
    import scipy as scipy
    import scipy.sparse
    import scipy.special
    import scipy.stats
    import torch as torch
    import transformers as transformers
else:
    numpy = _Lazy("numpy")
    pandas, scipy = _Lazy("pandas"), _Lazy("scipy")  # scipy imports its parts when asked for them
    faiss = _Lazy("faiss")
    torch, transformers = _Lazy("torch"), _Lazy("transformers")
