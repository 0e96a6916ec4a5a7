from m3eval.api import UserError as UserError
from m3eval.api import compare as compare
from m3eval.api import evaluate as evaluate
from m3eval.api import load_run as load_run

__version__: str
FROM_PYTHON: tuple[str, ...]
