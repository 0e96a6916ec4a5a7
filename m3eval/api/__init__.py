"""m3eval from Python, for notebooks: the three stages, paired tests, runs of others.

The same as the commands `run` and `compare`: the same settings, checks, files and tables. `m3eval`
itself hands these names out (m3eval/__init__.py).
"""

from m3eval.api.comparison import Comparison, compare
from m3eval.api.evaluation import EvaluatedSystem, Evaluation, evaluate
from m3eval.errors import UserError
from m3eval.retrievers.foreign import load_run

__all__ = [
    "Comparison",
    "EvaluatedSystem",
    "Evaluation",
    "UserError",
    "compare",
    "evaluate",
    "load_run",
]
